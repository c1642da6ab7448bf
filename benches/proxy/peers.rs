//! Other programs that do the same, from Python's package index: see `peers/run`.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    doubles::{Doubles, Length},
    process::Process,
    requests::Asked,
    rows::{Floor, Row},
};

/// Where the programs are installed.
pub struct Peers {
    pub environment: PathBuf,
}

/// Without a key LiteLLM lets nobody use MCP servers.
const KEY: &str = "sk-0123456789abcdef0123456789abcdef0123456789abcdef";

pub const NAMES: [&str; 2] = ["LiteLLM", "SDK loop"];

impl Peers {
    /// LiteLLM's proxy, where it can do the work: it has one round.
    pub fn litellm(&self, row: &Row, doubles: &Doubles, folder: &Path) -> Option<(Process, Asked)> {
        if row.script.rounds > 1 {
            return None;
        }
        let config = format!(
            r#"
model_list:
  - model_name: "*"
    litellm_params: {{model: "openai/*", api_base: "{}", api_key: none}}
mcp_servers:
  docs: {{url: "{}", transport: http}}
general_settings:
  master_key: {KEY}
"#,
            doubles.upstream(),
            doubles.server(row.script.tools.max(20)),
        );
        let path = folder.join("litellm.yaml");
        fs::write(&path, config).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let mut command = Command::new(self.environment.join("bin/litellm"));
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        command.arg("--config").arg(path);
        // It looks for models' prices on the network otherwise.
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
        let process = Process::start_at(&mut command, &folder.join("litellm.log"), address);

        let (asked, _) = row.of_floor();
        let mut body: Value = serde_json::from_slice(&asked.body).unwrap();
        if row.script.tools > 0 {
            body["model"] = row.script.to_string().into();
            body["tools"] = json!([
                {"type": "mcp", "server_url": "litellm_proxy", "require_approval": "never"}
            ]);
        }
        let body = body.to_string().into();
        let key = Some(KEY);
        Some((process, Asked { body, key }))
    }

    /// A loop over the official SDKs, which only knows whole answers.
    pub fn sdk_loop(
        &self,
        row: &Row,
        doubles: &Doubles,
        folder: &Path,
    ) -> Option<(Process, Asked)> {
        let is_loop = matches!(row.floor, Floor::Loop) && row.script.length == Length::Whole;
        is_loop.then(|| {
            let script =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/proxy/peers/sdk_loop.py");
            let mut command = Command::new(self.environment.join("bin/python"));
            command
                .arg(script)
                .arg(doubles.upstream())
                .arg(doubles.server(row.script.tools));
            let process = Process::start(&mut command, &folder.join("sdk_loop.log"));
            (process, row.of_floor().0)
        })
    }
}
