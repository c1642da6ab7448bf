//! The programs: built as they are run, and started with what they need.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{doubles::Doubles, process::Process, rows::Floor};

/// The programs of a run.
pub struct Programs {
    floor: PathBuf,
    proxy: PathBuf,
    doubles: Doubles,
    /// For configurations and logs.
    folder: PathBuf,
}

impl Programs {
    /// Builds the proxy and the floors in the release profile.
    pub fn build(doubles: Doubles) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .current_dir(root)
            .args(["build", "--release", "--features", "full"])
            .args(["--example", "proxy", "--example", "floor"])
            .status();
        assert!(built.unwrap().success(), "the programs were not built");
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |target| root.join(target));
        let examples = target.join("release/examples");
        let folder = env::temp_dir().join(format!("mcp-layer-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self {
            floor: examples.join("floor"),
            proxy: examples.join("proxy"),
            doubles,
            folder,
        }
    }

    /// The proxy that was built.
    pub fn proxy(&self) -> &Path {
        &self.proxy
    }

    pub fn start_floor(&self, floor: Floor, tools: usize) -> Process {
        let mut command = Command::new(&self.floor);
        match floor {
            Floor::Bare => command.args(["bare", &self.doubles.upstream()]),
            Floor::Loop => command.args([
                "loop",
                &self.doubles.upstream(),
                &self.doubles.server(tools),
            ]),
        };
        Process::start(&mut command, &self.folder.join("floor.log"))
    }

    /// Starts a proxy that has the server `docs` with so many tools.
    pub fn start_proxy(&self, proxy: &Path, tools: usize) -> Process {
        let Doubles { mcp, .. } = self.doubles;
        let (upstream, server) = (self.doubles.upstream(), self.doubles.server(tools.max(20)));
        let config = format!(
            r#"
            listen = "127.0.0.1:0"
            upstream = "{upstream}"
            allow_egress = ["{mcp}"]
            admin_listen = "off"
            streaming = "execute"

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
        command.arg("--config").arg(path);
        Process::start(&mut command, &self.folder.join("proxy.log"))
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
