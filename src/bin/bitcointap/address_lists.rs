//! The operator's lists of addresses. In: `NAME=FILE`. Out: the networks in these files.

use std::{collections::HashSet, io, path::PathBuf, str::FromStr};

use bitcointap::{
    address_set::{self, AddressSet},
    metrics::AddressList,
    privileges,
};

use crate::names;

/// The name of a list, and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressListFile {
    name: String,
    path: PathBuf,
}

impl FromStr for AddressListFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("must be NAME=FILE, such as banned=/etc/bitcointap/banned")?;
        names::check("a list's", name)?;
        if path.is_empty() {
            return Err("lacks a file after =, as in banned=/etc/bitcointap/banned".into());
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

    /// The name of its list.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads its file.
    pub fn addresses(&self) -> Result<AddressSet, address_set::Error> {
        AddressSet::read(&self.path)
    }

    /// Reads its file as a list for metrics, and logs that.
    pub fn read(&self) -> Result<AddressList, address_set::Error> {
        let addresses = self.addresses()?;
        tracing::info!(list = self.name, networks = addresses.len(), "read the address list {}", self.path.display());
        Ok(AddressList { name: self.name.clone(), addresses })
    }
}

/// Reads all lists. Gives the first error.
pub fn read(files: &[AddressListFile]) -> Result<Vec<AddressList>, String> {
    let list = |file: &AddressListFile| {
        file.read().map_err(|error| {
            let hint = match &error {
                address_set::Error::Unreadable { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                    privileges::BY_OWNER_AND_MODE
                }
                _ => "",
            };
            format!("the address list {}: {error}{hint}", file.name)
        })
    };
    files.iter().map(list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_plain_name_and_a_file() {
        let parsed = "LinkingLion.v1_a-b=/etc/lists/a=b.txt".parse::<AddressListFile>().unwrap();
        assert_eq!(parsed, AddressListFile { name: "LinkingLion.v1_a-b".into(), path: "/etc/lists/a=b.txt".into() });
        for wrong in ["", "f", "=f", "a=", "a b=f"] {
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
