//! Settings in the environment.

use std::fs;

use crate::{
    mcp_server::{McpServer, Mode},
    support::{API_KEY, Proxy, UPSTREAM_KEY, Upstream, file, own_file, run, run_in, run_with},
};

/// Flags that are no settings: they say what the program does.
const COMMANDS: [&str; 7] = [
    "generate-key",
    "add-key",
    "backup",
    "healthcheck",
    "check",
    "help",
    "version",
];

/// What `--check` says of a file, an environment and flags: the limit of descriptions is refused where
/// it is too large.
fn is_taken(config: &str, env: &[(&str, &str)], flags: &[&str]) -> bool {
    let mut all = vec!["--check", "--admin-listen", "off"];
    all.extend(flags);
    let (code, _, err) = run_with(config, &all, env);
    assert!(
        code == 0 || err.contains("description_limit must be"),
        "{err}"
    );
    code == 0
}

#[test]
fn a_variable_lies_over_the_file_and_a_flag_over_both() {
    const GOOD: &str = "100";
    const BAD: &str = "9999";
    for (of_file, of_variable, of_flag, expected) in [
        (GOOD, None, None, true),
        (BAD, None, None, false),
        (BAD, Some(GOOD), None, true),
        (GOOD, Some(BAD), None, false),
        (GOOD, Some(BAD), Some(GOOD), true),
        (GOOD, Some(GOOD), Some(BAD), false),
        // An empty variable is none.
        (GOOD, Some(""), None, true),
        (BAD, Some(" "), None, false),
    ] {
        let config = format!("description_limit = {of_file}\n");
        let env = of_variable.map(|value| ("MCP_PROXY_DESCRIPTION_LIMIT", value));
        let flag = of_flag.map(|value| ["--description-limit", value]);
        let env: Vec<_> = env.into_iter().collect();
        let flags: Vec<_> = flag.into_iter().flatten().collect();
        let case = format!("{of_file} {of_variable:?} {of_flag:?}");
        assert_eq!(is_taken(&config, &env, &flags), expected, "{case}");
    }
}

#[test]
fn every_flag_and_every_key_has_a_variable() {
    let (_, help, _) = run(&["--help"]);
    let flags = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"));
    let flags: Vec<_> = flags
        .map(|line| line.split([' ', ',']).next().unwrap())
        .filter(|flag| !COMMANDS.contains(flag))
        .collect();
    assert!(flags.len() > 25, "{flags:?}");
    // Those of the file are told where one is not known.
    let (_, _, err) = run_with("unknown = 1", &["--check"], &[]);
    let (_, keys) = err.split_once("expected one of ").unwrap();
    let keys: Vec<_> = keys.split('`').skip(1).step_by(2).collect();
    assert!(keys.len() > 35, "{keys:?}");
    let names = flags.iter().map(|flag| flag.replace('-', "_"));
    for name in names.chain(keys.iter().map(|key| (*key).to_owned())) {
        let variable = format!("MCP_PROXY_{}", name.to_uppercase());
        // Nothing takes this: either its own fault is told, or that of what it leads to.
        let (code, _, err) = run_in(&[(&variable, "\u{1}")], &["--check"]);
        assert!(!err.contains("no settings"), "{variable}: {err}");
        assert!(code == 2 || code == 0, "{variable}: {err}");
    }
}

#[test]
fn a_variable_that_is_no_setting_is_a_warning() {
    let env = [
        ("MCP_PROXY_PORT_8787_TCP", "tcp://10.0.0.1:8787"),
        ("MCP_PROXY_UPSTEAM", "http://127.0.0.1:1"),
    ];
    let (code, _, err) = run_in(&env, &["--check", "--admin-listen", "off"]);
    assert_eq!(code, 0, "{err}");
    for part in ["warning", "MCP_PROXY_PORT_8787_TCP", "MCP_PROXY_UPSTEAM"] {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert!(!err.contains("tcp:"), "no values: {err}");
}

#[test]
fn the_fault_of_a_variable_has_its_name_and_not_its_value() {
    const SECRET: &str = "sk-4fQ0b1Zz9xKQ";
    for (variable, value, reason) in [
        ("STREAMING", SECRET, "unknown variant"),
        ("LISTEN", SECRET, "IP:PORT"),
        ("ALLOW_ANONYMOUS", SECRET, "must be true or false"),
        ("DESCRIPTION_LIMIT", SECRET, "must be a whole number"),
        ("LIMITS", "{ connections = 0 }", "must be at least 1"),
        ("LIMITS", SECRET, "as TOML writes it"),
        ("API_KEYS", SECRET, "expected a table [[api_keys]]"),
        ("PRICES", "[{ model = 1 }]", "expected"),
        ("SERVERS", "[]", "MCP_PROXY_CONFIG_TOML"),
    ] {
        let name = format!("MCP_PROXY_{variable}");
        let (code, _, err) = run_in(&[(&name, value)], &["--check"]);
        assert_eq!((code, err.lines().count()), (2, 1), "{err}");
        assert!(err.starts_with(&format!("error: {name}: ")), "{err}");
        assert!(
            err.contains(reason) && !err.contains(SECRET),
            "{variable}: {err}"
        );
    }
    let both = [
        ("MCP_PROXY_CONFIG", "a.toml"),
        ("MCP_PROXY_CONFIG_TOML", "#"),
    ];
    let (code, _, err) = run_in(&both, &["--check"]);
    assert_eq!(code, 2);
    assert!(err.contains("give only one"), "{err}");
    let twice = [
        ("MCP_PROXY_ALLOW_ORIGIN", "https://a.example"),
        ("MCP_PROXY_ALLOW_ORIGINS", "https://b.example"),
    ];
    let (code, _, err) = run_in(&twice, &["--check"]);
    assert_eq!(code, 2);
    assert!(err.contains("give only one"), "{err}");
}

#[test]
fn a_variable_for_one_way_to_give_a_secret_replaces_the_other_way_of_the_file() {
    let key = file("the key of a test\n");
    #[cfg(unix)]
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let key = key.to_str().unwrap();
    let config = "upstream = \"http://127.0.0.1:1\"\nupstream_key_env = \"NOT_SET\"\n";
    let flags = ["--check", "--admin-listen", "off"];
    assert_eq!(run_with(config, &flags, &[]).0, 2);
    let env = [("MCP_PROXY_UPSTREAM_KEY_FILE", key)];
    let (code, _, err) = run_with(config, &flags, &env);
    assert_eq!(code, 0, "{err}");
}

#[tokio::test]
async fn a_proxy_runs_by_its_environment_alone() {
    let upstream = Upstream::start().await;
    let mcp = McpServer::start(Mode::Newest).await;
    let declared = format!(
        "upstream = \"http://127.0.0.1:1\"\n[[servers]]\nname = \"a\"\nurl = \"{}\"\n",
        mcp.url()
    );
    let keys = own_file("keys");
    let (code, ..) = run(&["--generate-key", keys.to_str().unwrap()]);
    assert_eq!(code, 0);
    let database = format!("sqlite://{}", own_file("db").display());
    let proxy = Proxy::of_environment(&[
        ("MCP_PROXY_CONFIG_TOML", &declared),
        ("MCP_PROXY_UPSTREAM", &upstream.url),
        ("MCP_PROXY_UPSTREAM_KEY_ENV", "UPSTREAM"),
        ("UPSTREAM", UPSTREAM_KEY),
        (
            "MCP_PROXY_API_KEYS",
            "[{ key_env = \"CALLER\", project = \"web\" }]",
        ),
        ("CALLER", API_KEY),
        ("MCP_PROXY_DATABASE", &database),
        ("MCP_PROXY_KEY_FILE", keys.to_str().unwrap()),
        ("MCP_PROXY_ALLOW_EGRESS", "127.0.0.0/8, ::1"),
        ("MCP_PROXY_LIMITS", "{ connections = 100 }"),
        ("MCP_PROXY_PORT", "tcp://10.0.0.1:8787"),
    ]);
    let request = proxy.client.get(format!("{}/v1/mcp/servers", proxy.url));
    let servers = request.bearer_auth(API_KEY).send().await.unwrap();
    let servers = crate::support::json(servers).await;
    assert_eq!(servers["servers"][0]["name"], "a", "{servers}");
    assert_eq!(servers["servers"][0]["status"], "active", "{servers}");
    let request = proxy.client.get(format!("{}/v1/models", proxy.url));
    let models = request.bearer_auth(API_KEY).send().await.unwrap();
    assert_eq!(models.status(), 200);
    assert!(
        proxy.logged().contains("MCP_PROXY_PORT"),
        "{}",
        proxy.logged()
    );
}
