//! Where those servers come from that are not in the store.

use super::fault::{Code, Fault};
use crate::name::ServerName;

/// The origin of servers that nobody can change here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Declared {
    /// The configuration file.
    #[default]
    InFile,
    /// The program itself, such as a demo.
    BuiltIn,
}

impl Declared {
    /// The badge beside such a server.
    pub(super) fn badge(self) -> &'static str {
        match self {
            Self::InFile => "declared in file",
            Self::BuiltIn => "built in",
        }
    }

    /// What that means for whoever wants to change it.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::InFile => {
                "This server is declared in the configuration file. Change it there; the gateway applies changes to the file."
            }
            Self::BuiltIn => "This server is built into the gateway, and cannot be changed.",
        }
    }

    /// The fault of a change of such a server.
    pub(super) fn fault(self, name: &ServerName) -> Fault {
        let message = match self {
            Self::InFile => {
                format!("the server {name} is declared in the configuration file; change it there")
            }
            Self::BuiltIn => format!("the server {name} is built in, and cannot be changed"),
        };
        Fault::new(Code::DeclaredInFile, message)
    }

    /// What that means for its tools.
    pub(super) fn of_tools(self) -> &'static str {
        match self {
            Self::InFile => "The offered tools are declared in the configuration file.",
            Self::BuiltIn => "The offered tools of this server cannot be changed.",
        }
    }
}
