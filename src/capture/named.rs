//! What an operator calls a node. In: texts. Out: a name and labels that are fit for Prometheus, files and a line of JSON.

use std::collections::BTreeMap;

/// A name and labels that the operator has given a node, to tell it from others. They stand in recordings, and on request in JSON.
/// Metrics never have them: Prometheus adds its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    node: Option<String>,
    labels: BTreeMap<String, String>,
}

impl Named {
    /// Labels that there can be.
    pub const MOST_LABELS: usize = 32;
    /// Bytes of the node's name, and of a label's.
    pub const LONGEST_NAME: usize = 64;
    /// Bytes of a label's value.
    pub const LONGEST_VALUE: usize = 256;

    /// The node's name.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Names and values, by name.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Sets the node's name.
    ///
    /// # Errors
    /// What is right instead, as for the next.
    pub fn with_node(self, name: &str) -> Result<Self, String> {
        Self::check_node(name)?;
        Ok(Self { node: Some(name.to_owned()), ..self })
    }

    /// Adds a label.
    pub fn with_label(mut self, name: &str, value: &str) -> Result<Self, String> {
        Self::check_label(name, value)?;
        if self.labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("the label {name} is given twice"));
        }
        if self.labels.len() > Self::MOST_LABELS {
            return Err(format!("there are more than {} labels", Self::MOST_LABELS));
        }
        Ok(self)
    }

    /// Whether a node can be called so.
    pub fn check_node(name: &str) -> Result<(), String> {
        check_text(name, Self::LONGEST_NAME)
    }

    /// Whether there can be such a label.
    pub fn check_label(name: &str, value: &str) -> Result<(), String> {
        let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let is_name = name.bytes().next().is_some_and(is_letter)
            && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
            && name.len() <= Self::LONGEST_NAME;
        if !is_name {
            let most = Self::LONGEST_NAME;
            return Err(format!("a label's name has at most {most} letters, digits and _, and no digit first"));
        }
        if name.starts_with("__") {
            return Err("names of labels that begin with __ are Prometheus' own".into());
        }
        check_text(value, Self::LONGEST_VALUE)
    }
}

fn check_text(text: &str, longest: usize) -> Result<(), String> {
    if text.is_empty() || text.len() > longest || text.chars().any(char::is_control) {
        return Err(format!("must have 1 to {longest} bytes, and no control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_prometheus_and_each_has_one_value() {
        let named = Named::default().with_node("alice").unwrap().with_label("rack", "b 7=ü").unwrap();
        assert_eq!((named.node(), named.labels().collect::<Vec<_>>()), (Some("alice"), vec![("rack", "b 7=ü")]));
        assert!(named.clone().with_label("_a1", "x").is_ok());
        assert!(named.clone().with_label("rack", "c").unwrap_err().contains("rack is given twice"));
        for (name, value) in [
            ("", "x"),
            ("1a", "x"),
            ("a-b", "x"),
            ("ä", "x"),
            ("__name__", "x"),
            ("a", ""),
            ("a", "b\n"),
            (&"a".repeat(65), "x"),
            ("a", &"x".repeat(257)),
        ] {
            assert!(named.clone().with_label(name, value).is_err(), "{name}={value}");
        }
        for name in ["", "a\u{1b}", &"x".repeat(65)] {
            assert!(Named::default().with_node(name).is_err(), "{name}");
        }
        let many = |count| (0..count).try_fold(Named::default(), |named, it| named.with_label(&format!("l{it}"), "x"));
        assert!(many(Named::MOST_LABELS).is_ok() && many(Named::MOST_LABELS + 1).is_err());
    }
}
