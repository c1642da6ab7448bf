//! Where those servers come from that are not in the store.

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

    /// What that means for its tools.
    pub(super) fn of_tools(self) -> &'static str {
        match self {
            Self::InFile => "The offered tools are declared in the configuration file.",
            Self::BuiltIn => "The offered tools of this server cannot be changed.",
        }
    }
}
