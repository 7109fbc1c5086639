//! Where a node keeps its data, and on which chain it is. In: its process. Out: its data directory and its [`Chain`],
//! as Bitcoin Core's `-datadir` and `-chain` name them.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use procfs::process::{FDTarget, MMapPath, Process};

/// A chain that Bitcoin Core knows, by the name for its `-chain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Chain {
    /// `main`
    Main,
    /// `test`, the third test network
    Test,
    /// `testnet4`
    Testnet4,
    /// `signet`, whichever its challenge
    Signet,
    /// `regtest`
    Regtest,
}

impl Chain {
    /// All chains.
    pub const ALL: [Self; 5] = [Self::Main, Self::Test, Self::Testnet4, Self::Signet, Self::Regtest];

    /// The name in `-chain` and `getblockchaininfo`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Test => "test",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// The folder with its data in the data directory. `main` has none: its data is in the directory itself.
    pub fn folder(self) -> Option<&'static str> {
        match self {
            Self::Main => None,
            Self::Test => Some("testnet3"),
            Self::Testnet4 | Self::Signet | Self::Regtest => Some(self.name()),
        }
    }

    /// The chain with data in a folder of this name.
    fn of_folder(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|chain| chain.folder().is_some_and(|folder| name == folder))
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Chain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|chain| chain.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("not a chain; name one of these: {names}")
        })
    }
}

/// Where a node keeps its data, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DataDirectory {
    pub(crate) directory: Option<PathBuf>,
    pub(crate) chain: Option<Chain>,
    /// What the command line and the environment say. The configuration file may name another directory or chain.
    pub(crate) said: Said,
    /// Whether directory and chain were seen, and not only said.
    pub(crate) is_seen: bool,
}

impl DataDirectory {
    pub(super) fn of(process: &Process) -> Self {
        let said = Said::by(process);
        match locked(process).or_else(|| mapped(process)) {
            Some(directory) => {
                let (directory, chain) = split(&directory, said.directory.as_deref());
                Self { directory: Some(directory), chain: Some(chain), said, is_seen: true }
            }
            None => Self { directory: said.directory.clone(), chain: said.chain, said, is_seen: false },
        }
    }

    /// Whether the next run of a node with this data directory may be the one with the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match self.is_seen && other.is_seen {
            true => (&self.directory, self.chain) == (&other.directory, other.chain),
            // A process that has just started may show less.
            false => self.said == other.said,
        }
    }
}

/// The directory of a chain's data, found by the lock that the node holds open there. This needs the right to look at
/// its descriptors.
fn locked(process: &Process) -> Option<PathBuf> {
    let opened = process.fd().ok()?.filter_map(Result::ok).filter_map(|descriptor| match descriptor.target {
        FDTarget::Path(path) if path.file_name() == Some(OsStr::new(".lock")) => Some(path.parent()?.to_owned()),
        _ => None,
    });
    // A folder of blocks is locked, too, and may be elsewhere.
    opened.into_iter().find(|directory| directory.file_name() != Some(OsStr::new("blocks")))
}

/// The same, found by a file of the chain state's database that the node has mapped. This needs less: CAP_SYS_PTRACE.
fn mapped(process: &Process) -> Option<PathBuf> {
    process.maps().ok()?.into_iter().find_map(|map| match map.pathname {
        MMapPath::Path(path) => {
            let folder = path.parent()?;
            (folder.file_name() == Some(OsStr::new("chainstate"))).then(|| folder.parent().map(Path::to_owned))?
        }
        _ => None,
    })
}

/// Splits the directory of a chain's data into data directory and chain.
fn split(directory: &Path, said: Option<&Path>) -> (PathBuf, Chain) {
    let is_whole = said == Some(directory);
    let folder = directory.file_name().and_then(Chain::of_folder).filter(|_| !is_whole);
    match (folder, directory.parent()) {
        (Some(chain), Some(parent)) => (parent.to_owned(), chain),
        _ => (directory.to_owned(), Chain::Main),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    directory: Option<PathBuf>,
    chain: Option<Chain>,
}

impl Said {
    fn by(process: &Process) -> Self {
        let arguments = process.cmdline().unwrap_or_default();
        let Self { directory, chain } = Self::in_arguments(arguments.iter().skip(1).map(String::as_str));
        let directory = match directory {
            Some(path) => Some(process.cwd().map_or_else(|_| path.clone(), |current| current.join(&path))),
            None => home(process).map(|home| Path::new(&home).join(".bitcoin")),
        };
        Self { directory, chain }
    }

    fn in_arguments<'a>(arguments: impl Iterator<Item = &'a str>) -> Self {
        let mut said = Self::default();
        for argument in arguments {
            let Some(option) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else { continue };
            let (name, value) = option.split_once('=').unwrap_or((option, "1"));
            match name {
                "datadir" if option.contains('=') => said.directory = Some(value.into()),
                "chain" => said.chain = value.parse().ok(),
                "regtest" | "signet" | "testnet" | "testnet4" if value != "0" => {
                    said.chain = if name == "testnet" { Some(Chain::Test) } else { name.parse().ok() };
                }
                _ => {}
            }
        }
        said
    }
}

fn home(process: &Process) -> Option<OsString> {
    process.environ().ok()?.get(OsStr::from_bytes(b"HOME")).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_a_folder_of_the_data_directory() {
        let told = |directory: &str, said: Option<&str>| {
            let (directory, chain) = split(Path::new(directory), said.map(Path::new));
            (directory.to_str().unwrap().to_owned(), chain.name())
        };
        let plain = |directory: &str, chain| (directory.to_owned(), chain);
        assert_eq!(told("/home/a/.bitcoin", None), plain("/home/a/.bitcoin", "main"));
        assert_eq!(told("/home/a/.bitcoin/testnet3", None), plain("/home/a/.bitcoin", "test"));
        assert_eq!(told("/home/a/.bitcoin/regtest", Some("/home/a/.bitcoin")), plain("/home/a/.bitcoin", "regtest"));
        // A data directory can have the name of a folder.
        assert_eq!(told("/data/signet", Some("/data/signet")), plain("/data/signet", "main"));
        assert_eq!(told("/data/signet/signet", Some("/data/signet")), plain("/data/signet", "signet"));
        assert_eq!(told("/", None), plain("/", "main"));
    }

    #[test]
    fn what_is_seen_tells_nodes_apart_else_what_is_said() {
        let seen = |directory: &str, chain, is_seen| {
            let said = Said { directory: Some("/said".into()), chain: None };
            DataDirectory { directory: Some(directory.into()), chain, said, is_seen }
        };
        let regtest = seen("/a", Some(Chain::Regtest), true);
        assert!(regtest.is_same(&regtest));
        assert!(!regtest.is_same(&seen("/a", Some(Chain::Main), true)));
        assert!(!regtest.is_same(&seen("/b", Some(Chain::Regtest), true)));
        assert!(regtest.is_same(&seen("/said", None, false)));
        assert!(!regtest.is_same(&DataDirectory::default()));
    }

    #[test]
    fn the_command_line_says_directory_and_chain() {
        let said = |text: &str| {
            let Said { directory, chain } = Said::in_arguments(text.split(' '));
            (directory.map(|path| path.display().to_string()), chain.map(Chain::name))
        };
        assert_eq!(said("-datadir=/a -daemonwait"), (Some("/a".into()), None));
        assert_eq!(said("--datadir=b --chain=signet"), (Some("b".into()), Some("signet")));
        assert_eq!(said("-datadir /a"), (None, None), "bitcoind takes no value after a space");
        for (text, chain) in [
            ("-regtest", Some("regtest")),
            ("-testnet=1", Some("test")),
            ("-testnet4", Some("testnet4")),
            ("-chain=test", Some("test")),
            ("-regtest=0", None),
            ("-noregtest", None),
            ("regtest", None),
            ("-chain=no", None),
        ] {
            assert_eq!(said(text), (None, chain), "{text}");
        }
    }

    #[test]
    fn chains_are_named_as_by_bitcoin_core() {
        assert!(Chain::ALL.iter().all(|chain| chain.to_string().parse() == Ok(*chain)));
        assert_eq!(
            "testnet3".parse::<Chain>().unwrap_err(),
            "not a chain; name one of these: main, test, testnet4, signet, regtest"
        );
    }
}
