//! Conditions that no event can meet together. In: a selection. Out: the words of as few of its conditions as already select nothing.

use std::mem::take;

use super::Selection;

/// Each condition by its word, with how to remove it. That tells whether it was given.
type Removal = (&'static str, fn(&mut Selection) -> bool);

const REMOVALS: [Removal; 18] = [
    ("events", |it| it.events.take().is_some()),
    ("not-events", |it| !take(&mut it.not_events).is_empty()),
    ("command", |it| it.commands.only.take().is_some()),
    ("not-command", |it| !take(&mut it.commands.not).is_empty()),
    ("direction", |it| it.directions.only.take().is_some()),
    ("not-direction", |it| !take(&mut it.directions.not).is_empty()),
    ("connection-type", |it| it.connection_types.only.take().is_some()),
    ("not-connection-type", |it| !take(&mut it.connection_types.not).is_empty()),
    ("network", |it| it.networks.only.take().is_some()),
    ("not-network", |it| !take(&mut it.networks.not).is_empty()),
    ("peer", |it| it.peers.only.take().is_some()),
    ("not-peer", |it| !take(&mut it.peers.not).is_empty()),
    ("address", |it| it.addresses.take().is_some()),
    ("not-address", |it| it.not_addresses.take().is_some()),
    ("hash", |it| it.hashes.only.take().is_some()),
    ("not-hash", |it| !take(&mut it.hashes.not).is_empty()),
    ("min-size", |it| it.min_size.take().is_some()),
    ("max-size", |it| it.max_size.take().is_some()),
];

impl Selection {
    /// Checks that some event may meet all conditions. `prefix` stands before the words in the error, such as `--`.
    ///
    /// # Errors
    /// A line that names the conditions that do not go together.
    pub fn check(&self, prefix: &str) -> Result<(), String> {
        if !self.tracepoints().is_empty() {
            return Ok(());
        }
        let words: Vec<String> = self.conflict().into_iter().map(|word| format!("{prefix}{word}")).collect();
        Err(match words.as_slice() {
            [alone] => format!("no event is left with {alone}: leave it out"),
            [first @ .., last] => {
                format!("no event can meet {} and {last} together: leave one of them out", first.join(", "))
            }
            [] => "there is no event".into(),
        })
    }

    /// Removes one condition after another if the others still select nothing. What stays is needed for that.
    fn conflict(&self) -> Vec<&'static str> {
        let mut rest = self.clone();
        let stays = |(word, remove): Removal| {
            let mut without = rest.clone();
            let was_given = remove(&mut without);
            let selects_nothing = without.tracepoints().is_empty();
            if selects_nothing {
                rest = without;
            }
            (was_given && !selects_nothing).then_some(word)
        };
        REMOVALS.into_iter().filter_map(stays).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";

    #[test]
    fn each_word_can_be_removed() {
        for word in super::super::WORDS.iter() {
            for name in
                [Some(word.name.to_owned()), word.not.map(|_| format!("not-{}", word.name))].into_iter().flatten()
            {
                let value = (word.suggested)().first().copied().unwrap_or(match word.name {
                    "address" => "192.0.2.1",
                    "hash" => HASH,
                    _ => "7",
                });
                let mut selection = Selection::default();
                selection.add(&name, value).unwrap();
                let given: Vec<_> = REMOVALS
                    .iter()
                    .filter(|(_, remove)| remove(&mut selection.clone()))
                    .map(|(word, _)| *word)
                    .collect();
                assert_eq!(given, [name]);
            }
        }
    }

    #[test]
    fn only_what_does_not_go_together_is_named() {
        for (conditions, words) in [
            (&[("events", "utxocache"), ("command", "inv"), ("not-peer", "3")][..], "events and command"),
            (&[("events", "net"), ("not-events", "net")], "events and not-events"),
            (&[("min-size", "10"), ("max-size", "5"), ("events", "net")], "min-size and max-size"),
            (&[("command", "inv"), ("not-command", "inv,tx"), ("events", "mempool")], "command and not-command"),
            (&[("command", "inv"), ("not-command", "inv,tx")], "command and not-command"),
            (&[("hash", HASH), ("not-hash", HASH)], "hash and not-hash"),
            (&[("hash", HASH), ("command", "ping,addr")], "command and hash"),
            (&[("hash", HASH), ("events", "coin_selection,utxocache:flush")], "events and hash"),
            (&[("hash", HASH), ("command", "inv"), ("events", "mempool")], "events and command"),
            (
                &[("events", "net:inbound_connection"), ("direction", "inbound"), ("connection-type", "manual")],
                "events and connection-type",
            ),
            (
                &[
                    ("events", "net:inbound_connection,net:outbound_connection"),
                    ("direction", "inbound"),
                    ("connection-type", "manual"),
                ],
                "events, direction and connection-type",
            ),
        ] {
            let mut selection = Selection::default();
            conditions.iter().for_each(|(word, values)| selection.add(word, values).unwrap());
            let expected = format!("no event can meet {words} together: leave one of them out");
            assert_eq!(selection.check(""), Err(expected), "{conditions:?}");
        }
        let mut selection = Selection::default();
        selection.add("not-events", "all").unwrap();
        assert_eq!(selection.check("--"), Err("no event is left with --not-events: leave it out".into()));
        assert_eq!(Selection::default().check("--"), Ok(()));
    }
}
