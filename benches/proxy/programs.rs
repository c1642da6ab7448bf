//! The programs: built as they are run, and started with what they need.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    doubles::Doubles,
    process::Process,
    rows::{Floor, Ours, Row},
};

/// The programs of a run.
pub struct Programs {
    floor: PathBuf,
    pub proxy: PathBuf,
    pub doubles: Doubles,
    /// For configurations, databases and logs.
    pub folder: PathBuf,
}

/// What a proxy is started with.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Tools of its MCP server.
    pub tools: usize,
    /// An operator's side, and a database for records.
    pub records: bool,
    /// Connections may be idle for long.
    pub is_patient: bool,
}

impl Setup {
    /// What the proxy needs to do this.
    pub fn of(row: &Row, ours: Ours) -> Self {
        Self {
            tools: row.script.tools.max(20),
            records: ours == Ours::Records,
            is_patient: false,
        }
    }
}

impl Programs {
    /// Builds the proxy and the floors: in the release profile, if they are measured.
    pub fn build(doubles: Doubles, is_test: bool) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let (profile, of_profile) = match is_test {
            true => ("dev", "debug/examples"),
            false => ("release", "release/examples"),
        };
        let built = Command::new(cargo)
            .current_dir(root)
            .args(["build", "--profile", profile])
            .args(["--example", "proxy", "--example", "floor"])
            .status();
        assert!(built.unwrap().success(), "the programs were not built");
        let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let examples = root.join(target).join(of_profile);
        let folder = env::temp_dir().join(format!("mcp-layer-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self {
            floor: examples.join("floor"),
            proxy: examples.join("proxy"),
            doubles,
            folder,
        }
    }

    pub fn start_floor(&self, row: &Row) -> Process {
        let (upstream, server) = (
            self.doubles.upstream(),
            self.doubles.server(row.script.tools),
        );
        let mut command = Command::new(&self.floor);
        match row.floor {
            Floor::Bare => command.args(["bare", &upstream]),
            Floor::Loop => command.args(["loop", &upstream, &server]),
            Floor::Proxy(ours) => return self.start_proxy(&self.proxy, Setup::of(row, ours)),
        };
        Process::start(&mut command, &self.folder.join("floor.log"))
    }

    /// Starts a proxy that has the server `docs`.
    pub fn start_proxy(&self, proxy: &Path, setup: Setup) -> Process {
        let Doubles { mcp, .. } = self.doubles;
        let (upstream, server) = (self.doubles.upstream(), self.doubles.server(setup.tools));
        let beside = match setup.records {
            true => self.database(proxy),
            false => "admin_listen = \"off\"".to_owned(),
        };
        let limits = match setup.is_patient {
            true => "[limits]\nheader_read = 3600\naddress_connections = 10000",
            false => "",
        };
        let config = format!(
            r#"
            listen = "127.0.0.1:0"
            upstream = "{upstream}"
            allow_egress = ["{mcp}"]
            streaming = "execute"
            {beside}
            {limits}
            [[servers]]
            name = "docs"
            url = "{server}"
            projects = "all"
            tools = "all"
            "#
        );
        let path = self.folder.join("proxy.toml");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(proxy);
        command
            .arg("--config")
            .arg(path)
            .env("ADMIN_TOKEN", "0123456789abcdef0123456789abcdef");
        Process::start(&mut command, &self.folder.join("proxy.log"))
    }

    /// The lines for an operator's side and a new database.
    fn database(&self, proxy: &Path) -> String {
        let folder = self.folder.join("records");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let keys = folder.join("keys");
        let made = Command::new(proxy)
            .arg("--generate-key")
            .arg(&keys)
            .output();
        assert!(made.unwrap().status.success(), "no key was made");
        format!(
            "admin_listen = \"127.0.0.1:0\"\nadmin_token_env = \"ADMIN_TOKEN\"\nkey_file = \"{}\"\ndatabase = \"sqlite://{}\"",
            keys.display(),
            folder.join("proxy.db").display(),
        )
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
