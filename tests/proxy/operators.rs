//! Operators by name in the configuration file, and the provider that they sign in at.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::Duration;

use http::StatusCode;

use crate::LOCAL;
use crate::evidence;
use crate::support::{ADMIN_TOKEN, Proxy, file, own_file, run_with};

const TOKEN: &str = "canary/operator+token=37";
const OTHER: &str = "canary/operator+token=38";

fn operator(name: &str, role: &str) -> String {
    format!("[[operators]]\nname = \"{name}\"\ntoken_env = \"TOKEN\"\nrole = \"{role}\"\n")
}

#[test]
fn what_is_wrong_about_operators_is_one_clear_line_and_exit_code_2() {
    let good = operator("ann", "viewer");
    let oidc = |rest: &str| {
        format!("[oidc]\nissuer = \"https://id.example.com\"\nclient_id = \"gateway\"\n{rest}\n")
    };
    let roles = "roles = { admin = [\"ops\"] }";
    for (config, expected) in [
        (
            operator("a b", "viewer"),
            "operators[0]: a name has 1 to 64",
        ),
        (
            operator("admin", "viewer"),
            "is that of the holder of the admin token",
        ),
        (operator("ann", "owner"), "unknown variant"),
        (
            format!("{good}{}", operator("bob", "editor")),
            "ann and bob have the same token",
        ),
        (
            good.replace("TOKEN", "TOKEN_NOT_SET"),
            "TOKEN_NOT_SET is not set",
        ),
        (good.replace("TOKEN", "SHORT"), "fewer than 16"),
        (
            good.replace("token_env = \"TOKEN\"\n", ""),
            "give one of token_env",
        ),
        (
            good.replace("token_env = \"TOKEN\"", "token_sha256 = \"xyz\""),
            "not 64 hexadecimal digits",
        ),
        (oidc(""), "missing field `roles`"),
        (oidc("roles = {}"), "nobody could sign in"),
        (oidc("roles = { owner = [] }"), "unknown key"),
        (
            oidc(roles).replace("https://id.example.com", "not a URL"),
            "oidc: the issuer is no URL",
        ),
        (
            oidc(roles).replace("https://id.example.com", "http://192.168.0.1"),
            "not allowed by the egress rules",
        ),
        (
            oidc(&format!("{roles}\nclient_secret_env = \"NOT_SET\"")),
            "NOT_SET is not set",
        ),
    ] {
        let config = format!("admin_token_env = \"ADMIN\"\n{config}");
        let env = [
            ("ADMIN", ADMIN_TOKEN),
            ("TOKEN", TOKEN),
            ("SHORT", "s3cret"),
        ];
        let (code, _, err) = run_with(&config, &["--listen", "127.0.0.1:0"], &env);
        assert_eq!((code, err.lines().count()), (2, 1), "{config}: {err}");
        assert!(
            err.starts_with("error: ") && err.contains(expected),
            "{config}: {err}"
        );
        assert!(!err.contains("s3cret") && !err.contains(TOKEN), "{err}");
    }
}

#[tokio::test]
async fn operators_follow_the_file_and_their_role_with_them() {
    evidence::secret("operator's token", TOKEN);
    evidence::secret("operator's token", OTHER);
    let with = |operators: &str| format!("admin_token_env = \"ADMIN\"\n{LOCAL}{operators}");
    let path = file(&with(&operator("ann", "viewer")));
    let env = [("ADMIN", ADMIN_TOKEN), ("TOKEN", TOKEN), ("OTHER", OTHER)];
    let proxy = Proxy::over(&path, &["--admin-listen", "127.0.0.1:0"], &env);
    let ask = async |token: &str, method: &str, path: &str| {
        let url = format!("{}/api/v1{path}", proxy.operators);
        let request = proxy.client.request(method.parse().unwrap(), url);
        request.bearer_auth(token).send().await.unwrap().status()
    };
    let becomes = async |token: &str, path: &str, status: StatusCode| {
        for _ in 0..100 {
            if ask(token, "GET", path).await == status {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{path} is not answered with {status}");
    };
    assert_eq!(ask(TOKEN, "GET", "/servers").await, StatusCode::OK);
    assert_eq!(
        ask(TOKEN, "DELETE", "/servers/a").await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        ask(OTHER, "GET", "/servers").await,
        StatusCode::UNAUTHORIZED
    );

    fs::write(&path, with(&operator("ann", "admin"))).unwrap();
    becomes(TOKEN, "/sessions", StatusCode::OK).await;
    // What cannot be read changes nothing.
    fs::write(&path, with(&operator("ann", "owner"))).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(ask(TOKEN, "GET", "/sessions").await, StatusCode::OK);
    let other = operator("ann", "admin").replace("TOKEN", "OTHER");
    fs::write(&path, with(&other)).unwrap();
    becomes(OTHER, "/sessions", StatusCode::OK).await;
    assert_eq!(
        ask(TOKEN, "GET", "/servers").await,
        StatusCode::UNAUTHORIZED
    );
    fs::write(&path, with("")).unwrap();
    becomes(OTHER, "/servers", StatusCode::UNAUTHORIZED).await;
    assert_eq!(ask(ADMIN_TOKEN, "GET", "/servers").await, StatusCode::OK);
}

#[tokio::test]
async fn whoever_is_taken_out_while_the_proxy_starts_is_out() {
    // The proxy has read its file when it opens this one, and goes on when it is written.
    let pipe = own_file("pem");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let with = |operators: &str| {
        let pipe = pipe.display();
        format!("admin_token_env = \"ADMIN\"\nca_file = \"{pipe}\"\n{LOCAL}{operators}")
    };
    let path = file(&with(&operator("ann", "viewer")));
    let (change, changed) = (with(""), path.clone());
    let taking_out = thread::spawn(move || {
        let root = rcgen::generate_simple_self_signed(["root.example".to_owned()]).unwrap();
        let mut writing = File::options().write(true).open(pipe).unwrap();
        fs::write(changed, change).unwrap();
        writing.write_all(root.cert.pem().as_bytes()).unwrap();
    });
    let env = [("ADMIN", ADMIN_TOKEN), ("TOKEN", TOKEN)];
    let proxy = Proxy::over(&path, &["--admin-listen", "127.0.0.1:0"], &env);
    taking_out.join().unwrap();
    let url = format!("{}/api/v1/servers", proxy.operators);
    for _ in 0..50 {
        let asked = proxy.client.get(&url).bearer_auth(TOKEN).send().await;
        if asked.unwrap().status() == StatusCode::UNAUTHORIZED {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("somebody who was taken out is still let in");
}
