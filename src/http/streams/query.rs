//! What a query asks for. In: the words of selections, as on the command line, with percent-encoded values. Out: which
//! events, and how to write them, or of which time; or a line that says what is wrong.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::Wanted;
use crate::{
    json::{BytesStyle, IntegersStyle, PayloadStyle},
    selection::Selection,
    spool::JsonLines,
    tracepoint::{Tracepoint, Tracepoints},
    units,
};

/// The longest query, in bytes.
const LONGEST: usize = 8 << 10;
/// Each value is compared with each event.
const MOST_VALUES: usize = 100;
/// As on the command line.
const BYTES: [(&str, BytesStyle); 2] = [("array", BytesStyle::Array), ("hex", BytesStyle::Hex)];
const INTEGERS: [(&str, IntegersStyle); 2] = [("number", IntegersStyle::Number), ("string", IntegersStyle::String)];
const PAYLOADS: [(&str, PayloadStyle); 3] =
    [("none", PayloadStyle::None), ("decoded", PayloadStyle::Decoded), ("raw", PayloadStyle::Raw)];

/// A query without conditions asks for all events. Only events of the `tapped` tracepoints can come. Commas separate
/// values in lists, or the word is repeated; `+` is a space, as forms send it.
pub(super) fn parse(query: &str, tapped: Tracepoints) -> Result<Wanted, String> {
    // What clients made up must not look like lines of ours.
    wanted(query, tapped).map_err(printable)
}

/// The same for a recording: gives how far back it shall go, and a selection if not all events are wanted.
pub(super) fn parse_of_recording(
    query: &str,
    tapped: Tracepoints,
) -> Result<(Option<Duration>, Option<Selection>), String> {
    of_recording(query, tapped).map_err(printable)
}

fn printable(words: String) -> String {
    words.replace(char::is_control, "\u{fffd}")
}

fn wanted(query: &str, tapped: Tracepoints) -> Result<Wanted, String> {
    let (mut bytes, mut integers, mut max_bytes, mut payload) = (None, None, None, None);
    let selection = selected(&pairs(query)?, tapped, |word, values| {
        match word {
            "bytes" => once(&mut bytes, word, one_of(&BYTES, values)?)?,
            "integers" => once(&mut integers, word, one_of(&INTEGERS, values)?)?,
            "max-bytes" => once(&mut max_bytes, word, units::bytes(values)?)?,
            "payload" => once(&mut payload, word, one_of(&PAYLOADS, values)?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let mut lines = JsonLines::new(bytes.unwrap_or_default(), payload.unwrap_or_default());
    (lines.style.integers, lines.style.max_bytes) = (integers.unwrap_or_default(), max_bytes);
    Ok(Wanted { selection, lines })
}

fn of_recording(query: &str, tapped: Tracepoints) -> Result<(Option<Duration>, Option<Selection>), String> {
    let (mut last, pairs) = (None, pairs(query)?);
    let selection = selected(&pairs, tapped, |word, values| match word {
        "last" => once(&mut last, word, units::duration(values)?).map(|()| true),
        "bytes" | "integers" | "max-bytes" | "payload" => {
            Err(format!("'{word}' is for /events: a recording keeps bytes as they are"))
        }
        _ => Ok(false),
    })?;
    Ok((last, pairs.iter().any(|(word, _)| word != "last").then_some(selection)))
}

/// Words and their values.
fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    if query.len() > LONGEST {
        return Err(format!("the query has more than {LONGEST} bytes"));
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (word, values) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(word)?, decoded(values)?))
        })
        .collect::<Result<_, String>>()?;
    if pairs.iter().map(|(_, values)| values.split(',').count()).sum::<usize>() > MOST_VALUES {
        return Err(format!("the query has more than {MOST_VALUES} values"));
    }
    Ok(pairs)
}

/// The events that the words select. `takes` gets each word first, and may take it.
fn selected(
    pairs: &[(String, String)],
    tapped: Tracepoints,
    mut takes: impl FnMut(&str, &str) -> Result<bool, String>,
) -> Result<Selection, String> {
    let names_events = pairs.iter().any(|(word, _)| word == "events");
    let mut selection = if names_events { Selection::default() } else { Selection::of(Tracepoint::all().collect()) };
    for (word, values) in pairs {
        if !takes(word, values)? {
            selection.add(word, values)?;
        }
    }
    check(&selection, tapped)?;
    Ok(selection)
}

/// Whether any event can come.
fn check(selection: &Selection, tapped: Tracepoints) -> Result<(), String> {
    selection.check("")?;
    let wanted = selection.tracepoints();
    if !wanted.iter().any(|tracepoint| tapped.contains(tracepoint)) {
        let names: Vec<_> = wanted.iter().map(|tracepoint| tracepoint.name()).collect();
        return Err(format!("no such event is tapped: start export with --events that lists {}", names.join(",")));
    }
    Ok(())
}

fn decoded(text: &str) -> Result<String, String> {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if !text.split('%').skip(1).all(is_escape) {
        return Err(format!("'{text}' is not percent-encoded: after % come two hexadecimal digits"));
    }
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8();
    decoded.map(Into::into).map_err(|_| format!("'{text}' is not UTF-8"))
}

fn one_of<T: Copy>(values: &[(&str, T)], text: &str) -> Result<T, String> {
    values.iter().find(|&&(name, _)| name == text).map(|&(_, value)| value).ok_or_else(|| {
        let names: Vec<_> = values.iter().map(|&(name, _)| name).collect();
        format!("'{text}' is not one of {}", names.join(", "))
    })
}

fn once<T>(place: &mut Option<T>, word: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        Some(_) => Err(format!("'{word}' is given twice")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::net::{ConnectionType, Direction},
        selection::Condition,
    };

    fn set(words: &str) -> Tracepoints {
        words.parse().unwrap()
    }

    fn asked(query: &str) -> Wanted {
        parse(query, set("all")).unwrap_or_else(|words| panic!("{query}: {words}"))
    }

    #[track_caller]
    fn assert_selects(query: &str, selection: Selection) {
        assert_eq!(format!("{:?}", asked(query).selection), format!("{selection:?}"), "{query}");
    }

    #[test]
    fn without_a_word_it_is_all_that_comes() {
        for nothing in ["", "&", "&&&"] {
            let Wanted { selection, lines } = parse(nothing, set("mempool,utxocache:add")).unwrap();
            assert_eq!(selection.tracepoints(), set("all"), "{nothing}");
            assert_eq!(lines, JsonLines::default());
        }
        let others = |it: &Tracepoint| !["net", "mempool"].contains(&it.context());
        let left: Tracepoints = Tracepoint::all().filter(others).collect();
        assert_eq!(asked("not-events=net,mempool").selection.tracepoints(), left);
        assert_eq!(asked("events=mempool&events=utxocache:add").selection.tracepoints(), set("mempool,utxocache:add"));
    }

    #[test]
    fn words_are_those_of_the_command_line() {
        let all = || Selection::of(set("all"));
        let (command, peer) = (|name: &str| Condition::Command(name.into()), Condition::Peer);
        assert_selects("command=inv,tx&not-peer=3", all().only(command("inv")).only(command("tx")).not(peer(3)));
        assert_selects("peer=1&peer=2,%203%2c4", all().only(peer(1)).only(peer(2)).only(peer(3)).only(peer(4)));
        assert_selects("peer=1,+2&&", all().only(peer(1)).only(peer(2)));
        assert_selects("%63ommand=%69nv", all().only(command("inv")));
        assert_selects("min-size=10&max-size=99&min-size=20", all().min_size(20).max_size(99));
        assert_selects(
            "direction=inbound&not-connection-type=block-relay-only",
            all()
                .only(Condition::Direction(Direction::Inbound))
                .not(Condition::ConnectionType(ConnectionType::BlockRelayOnly)),
        );
        for (query, address) in [
            ("address=%5B2001%3Adb8%3A%3A1%5D%3a8333", "[2001:db8::1]:8333"),
            ("address=[2001:db8::1]:8333", "[2001:db8::1]:8333"),
            ("address=10.0.0.0/8", "10.0.0.0/8"),
            ("address=n%C3%BC.example", "n\u{fc}.example"),
        ] {
            match address.parse() {
                Ok(address) => assert_selects(query, all().only(Condition::Address(address))),
                Err(words) => assert_eq!(parse(query, set("all")).unwrap_err(), words),
            }
        }
    }

    #[test]
    fn how_it_is_written_is_said_by_the_words_of_the_command_line_too() {
        let lines = |bytes, payload| JsonLines::new(bytes, payload);
        let with = |integers, max_bytes| {
            let mut lines = JsonLines::default();
            (lines.style.integers, lines.style.max_bytes) = (integers, max_bytes);
            lines
        };
        for (query, expected) in [
            ("bytes=hex", lines(BytesStyle::Hex, PayloadStyle::Decoded)),
            ("bytes=array&payload=raw", lines(BytesStyle::Array, PayloadStyle::Raw)),
            ("payload=none&command=inv&bytes=hex", lines(BytesStyle::Hex, PayloadStyle::None)),
            ("payload=decoded&integers=number", JsonLines::default()),
            ("integers=string", with(IntegersStyle::String, None)),
            ("max-bytes=4KiB&integers=string", with(IntegersStyle::String, Some(4096))),
            ("max-bytes=0", with(IntegersStyle::Number, Some(0))),
        ] {
            assert_eq!(asked(query).lines, expected, "{query}");
        }
    }

    #[test]
    fn a_recording_is_asked_for_by_the_same_words_and_a_time() {
        let asked = |query: &str| parse_of_recording(query, set("default"));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (query, last) in [("", None), ("last=5m", seconds(300)), ("&last=90", seconds(90)), ("last=0", seconds(0))]
        {
            let (asked, selection) = asked(query).unwrap();
            assert_eq!((asked, selection.is_none()), (last, true), "{query}");
        }
        let (last, selection) = asked("command=inv&last=1h30m&not-peer=3").unwrap();
        let expected = Selection::of(set("all")).only(Condition::Command("inv".into())).not(Condition::Peer(3));
        assert_eq!((last, format!("{:?}", selection.unwrap())), (seconds(5_400), format!("{expected:?}")));
        for (query, words) in [
            ("last=soon", "'soon' is no time, such as 90 (seconds), 90s, 10m, 1h30m or 1d"),
            ("last", "'' is no time, such as 90 (seconds), 90s, 10m, 1h30m or 1d"),
            ("last=1m&last=2m", "'last' is given twice"),
            ("payload=none", "'payload' is for /events: a recording keeps bytes as they are"),
            ("bytes=hex", "'bytes' is for /events: a recording keeps bytes as they are"),
            ("last=1m%0A", "'1m\u{fffd}' is no time, such as 90 (seconds), 90s, 10m, 1h30m or 1d"),
            ("events=mempool&command=inv", "no event can meet events and command together: leave one of them out"),
            ("events=utxocache:add", "no such event is tapped: start export with --events that lists utxocache:add"),
        ] {
            assert_eq!(asked(query).unwrap_err(), words, "{query}");
        }
        assert!(asked("frst=1").unwrap_err().starts_with("there is no condition 'frst'; there are events, "));
        assert!(parse("last=5m", set("all")).unwrap_err().starts_with("there is no condition 'last'"));
    }

    #[test]
    fn what_is_wrong_is_said_in_a_line() {
        for (query, words) in [
            ("peer", "'' is no peer number, such as 17: getpeerinfo's id"),
            ("peer=1,", "'' is no peer number, such as 17: getpeerinfo's id"),
            ("peer=-1", "'-1' is no peer number, such as 17: getpeerinfo's id"),
            ("peer=99999999999999999999", "'99999999999999999999' is no peer number, such as 17: getpeerinfo's id"),
            ("command=abcdefghijklm", "'abcdefghijklm' is no command, such as inv: these have 1 to 12 characters"),
            ("integers=text", "'text' is not one of number, string"),
            ("max-bytes=-1", "'-1' is no size, such as 4096 (bytes), 64KiB, 16MiB or 1GiB"),
            ("max-bytes=1&max-bytes=1", "'max-bytes' is given twice"),
            ("payload=all", "'all' is not one of none, decoded, raw"),
            ("payload=", "'' is not one of none, decoded, raw"),
            ("bytes=Hex", "'Hex' is not one of array, hex"),
            ("bytes=hex&bytes=hex", "'bytes' is given twice"),
            ("payload=raw&payload=none", "'payload' is given twice"),
            ("command=%zz", "'%zz' is not percent-encoded: after % come two hexadecimal digits"),
            ("command=a%4", "'a%4' is not percent-encoded: after % come two hexadecimal digits"),
            ("%", "'%' is not percent-encoded: after % come two hexadecimal digits"),
            ("command=%+1", "'%+1' is not percent-encoded: after % come two hexadecimal digits"),
            ("command=%ff", "'%ff' is not UTF-8"),
            ("command=%C3", "'%C3' is not UTF-8"),
            ("peer=1%0D%0AX:%00", "'1\u{fffd}\u{fffd}X:\u{fffd}' is no peer number, such as 17: getpeerinfo's id"),
            ("events=mempool&command=inv", "no event can meet events and command together: leave one of them out"),
            ("not-events=all", "no event is left with not-events: leave it out"),
        ] {
            assert_eq!(parse(query, set("all")).unwrap_err(), words, "{query}");
        }
        for (query, word) in [
            ("comand=inv", "comand"),
            ("=inv", ""),
            ("not-min-size=3", "not-min-size"),
            ("not-payload=none", "not-payload"),
            ("pretty", "pretty"),
            ("Command=inv", "Command"),
        ] {
            let words = format!(
                "there is no condition '{word}'; there are events, command, direction, connection-type, \
                 network, peer, address, hash, each also with not- in front, and min-size, max-size"
            );
            assert_eq!(parse(query, set("all")).unwrap_err(), words, "{query}");
        }
        let words = parse("events=nett", set("all")).unwrap_err();
        assert!(words.contains("'nett'") || words.contains("nett"), "{words}");
    }

    #[test]
    fn what_nobody_taps_is_refused_with_what_to_do() {
        assert_eq!(
            parse("events=utxocache:add,coin_selection:selected_coins", set("default,utxocache:spent")).map(|_| ()),
            Ok(())
        );
        assert_eq!(
            parse("events=utxocache:add,utxocache:spent", set("default")).unwrap_err(),
            "no such event is tapped: start export with --events that lists utxocache:add,utxocache:spent"
        );
        let words = parse("events=all&command=inv&direction=inbound", set("mempool")).unwrap_err();
        assert_eq!(words, "no such event is tapped: start export with --events that lists net:inbound_message");
        // No attached tracepoint has a command.
        assert_eq!(
            parse("command=inv", set("mempool")).unwrap_err(),
            "no such event is tapped: start export with --events that lists net:inbound_message,net:outbound_message"
        );
    }

    #[test]
    fn how_much_can_be_asked_for_is_bounded() {
        let peers = |n: usize| format!("peer={}", (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        assert!(parse(&peers(100), set("all")).is_ok());
        assert_eq!(parse(&peers(101), set("all")).unwrap_err(), "the query has more than 100 values");
        let escaped = peers(101).replace(',', "%2C");
        assert_eq!(parse(&escaped, set("all")).unwrap_err(), "the query has more than 100 values");
        assert!(parse(&"peer=1&".repeat(100), set("all")).is_ok());
        assert_eq!(parse(&"peer=1&".repeat(101), set("all")).unwrap_err(), "the query has more than 100 values");
        assert!(parse(&"&".repeat(8192), set("all")).is_ok());
        assert_eq!(parse(&"&".repeat(8193), set("all")).unwrap_err(), "the query has more than 8192 bytes");
    }

    #[cfg(feature = "cli")]
    #[test]
    fn styles_have_the_names_of_the_command_line() {
        use clap::ValueEnum;

        fn named<T: ValueEnum>() -> Vec<(String, T)> {
            let name = |value: &T| value.to_possible_value().unwrap().get_name().to_owned();
            T::value_variants().iter().map(|value| (name(value), value.clone())).collect()
        }
        assert_eq!(BYTES.map(|(name, value)| (name.to_owned(), value)).as_slice(), named());
        assert_eq!(INTEGERS.map(|(name, value)| (name.to_owned(), value)).as_slice(), named());
        assert_eq!(PAYLOADS.map(|(name, value)| (name.to_owned(), value)).as_slice(), named());
    }

    #[test]
    fn no_query_makes_it_panic() {
        let pieces =
            ["%", "%2", "%2C", "=", "&", ",", "+", "not-", "peer", "bytes", "address", "[", "::", "\u{fc}", "%00"];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    for d in pieces {
                        let query = format!("{a}{b}{c}{d}");
                        let of_recording = parse_of_recording(&query, set("all")).map(|_| ());
                        for words in
                            [parse(&query, set("all")).map(|_| ()), of_recording].into_iter().filter_map(Result::err)
                        {
                            assert!(!words.contains(char::is_control), "{words:?}");
                        }
                    }
                }
            }
        }
    }
}
