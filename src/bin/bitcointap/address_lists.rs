//! The operator's lists of addresses. In: NAME=FILE, and SIGHUP. Out: the networks in the files, read at the start and
//! again on each SIGHUP.

use std::{
    collections::HashSet,
    io,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use bitcointap::{
    metrics::{AddressList, Metrics},
    networks::{self, Networks},
    privileges,
};
use signal_hook::consts::SIGHUP;

/// The longest name of a list, in bytes.
const LONGEST_NAME: usize = 32;

/// A list's name, and the file of its networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressListFile {
    name: String,
    path: PathBuf,
}

impl FromStr for AddressListFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("must be NAME=FILE, such as banned=/etc/bitcointap/banned")?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
            return Err(format!("a list's name is 1 to {LONGEST_NAME} letters, digits, '_', '.' and '-'"));
        }
        if path.is_empty() {
            return Err("has no file after =".into());
        }
        Ok(Self { name: name.to_owned(), path: path.into() })
    }
}

impl AddressListFile {
    /// Checks that there are not too many lists, and that their names differ.
    pub fn check(files: &[Self]) -> Result<(), String> {
        let names: HashSet<&str> = files.iter().map(|file| &*file.name).collect();
        if names.len() < files.len() {
            return Err("each --address-list needs a name of its own".into());
        }
        if files.len() > AddressList::MOST {
            return Err(format!("there can be at most {} of --address-list", AddressList::MOST));
        }
        Ok(())
    }

    fn log(&self, networks: &Networks) {
        tracing::info!(list = self.name, networks = networks.len(), "read the address list {}", self.path.display());
    }
}

/// The lists of an exporter. Once this exists, SIGHUP does not end the process.
pub struct AddressLists<'a> {
    files: &'a [AddressListFile],
    hung_up: Arc<AtomicBool>,
    /// Asks for the files to be read again. A thread of its own reads them, because the thread of the events would be
    /// late.
    ask: Sender<()>,
    read: Receiver<(usize, Result<Networks, networks::Error>)>,
}

impl<'a> AddressLists<'a> {
    pub fn on_sighup(files: &'a [AddressListFile]) -> io::Result<Self> {
        let hung_up = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&hung_up))?;
        let ((ask, asked), (tell, read)) = (channel::<()>(), channel());
        let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
        if !paths.is_empty() {
            let thread = thread::Builder::new().name("address lists".into());
            thread.spawn(move || {
                privileges::drop_all_of_thread();
                let each = || paths.iter().enumerate();
                let mut results = asked.iter().flat_map(|()| each()).map(|(place, path)| (place, Networks::read(path)));
                let _ = results.try_for_each(|result| tell.send(result));
            })?;
        }
        Ok(Self { files, hung_up, ask, read })
    }

    /// All lists, or what is wrong with one.
    pub fn read(&self) -> Result<Vec<AddressList>, String> {
        let list = |file: &AddressListFile| {
            let networks = Networks::read(&file.path).map_err(|error| {
                let hint = match &error {
                    networks::Error::Unreadable { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                        "; its user must have access without capabilities, even root"
                    }
                    _ => "",
                };
                format!("the address list {}: {error}{hint}", file.name)
            })?;
            file.log(&networks);
            Ok(AddressList { name: file.name.clone(), networks })
        };
        self.files.iter().map(list).collect()
    }

    /// Asks for the files to be read again if SIGHUP came, and takes over what was read. A list with a wrong file stays
    /// as it was.
    pub fn look_after(&self, metrics: &mut Metrics) {
        if self.hung_up.swap(false, Relaxed) {
            if self.files.is_empty() {
                tracing::info!("SIGHUP: there is nothing to read again");
            }
            // Without lists no thread receives this.
            let _ = self.ask.send(());
        }
        for (place, result) in self.read.try_iter() {
            let file = &self.files[place];
            match result {
                Ok(networks) => {
                    file.log(&networks);
                    metrics.replace_address_list(&file.name, networks);
                }
                Err(error) => tracing::error!(list = file.name, "{error}; the address list stays as it was"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_plain_name_and_a_file() {
        let parsed = "LinkingLion.v1_a-b=/etc/lists/a=b.txt".parse::<AddressListFile>().unwrap();
        assert_eq!(parsed, AddressListFile { name: "LinkingLion.v1_a-b".into(), path: "/etc/lists/a=b.txt".into() });
        assert!(format!("{}=f", "x".repeat(LONGEST_NAME)).parse::<AddressListFile>().is_ok());
        for wrong in ["", "f", "=f", "a=", "a b=f", "ä=f", "a\"=f", &format!("{}=f", "x".repeat(LONGEST_NAME + 1))] {
            assert!(wrong.parse::<AddressListFile>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_are_few_and_of_different_names() {
        let files = |names: &str| names.chars().map(|name| format!("{name}=f").parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(AddressListFile::check(&files("")), Ok(()));
        assert_eq!(AddressListFile::check(&files("abcdefgh")), Ok(()));
        assert!(AddressListFile::check(&files("abcdefghi")).is_err());
        assert!(AddressListFile::check(&files("aba")).is_err());
    }
}
