//! Finds addresses in texts that anybody may have written: user agents, reasons. In: a text. Out: the same, with `x` in place of the letters
//! and digits of what may be an address, so that its length stays.

use std::net::Ipv6Addr;

/// The fewest letters of a name in base 32: those of version 2 of onion services.
const FEWEST_LETTERS: usize = 16;

pub(crate) fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    mask(&mut bytes);
    String::from_utf8(bytes).expect("only ASCII is replaced, by ASCII")
}

pub(crate) fn mask(text: &mut [u8]) {
    mask_if(text, |byte| byte.is_ascii_digit() || byte == b'.', is_ipv4);
    mask_if(text, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'), is_ipv6);
    mask_if(text, |byte| byte.is_ascii_alphanumeric() || byte == b'.', is_name);
}

/// Masks runs of such bytes that are an address.
fn mask_if(text: &mut [u8], is_part: impl Fn(u8) -> bool, is_address: impl Fn(&str) -> bool) {
    for run in text.chunk_by_mut(|&one, &next| is_part(one) == is_part(next)) {
        let is_one = is_part(run[0]) && str::from_utf8(run).is_ok_and(&is_address);
        if is_one {
            run.iter_mut().filter(|byte| byte.is_ascii_alphanumeric()).for_each(|byte| *byte = b'x');
        }
    }
}

/// Four numbers in a row. 0.x.x.x names no host, and versions often look so.
fn is_ipv4(run: &str) -> bool {
    let numbers: Vec<Option<u8>> = run.split('.').map(|number| number.parse().ok()).collect();
    numbers.windows(4).any(|four| four.iter().all(Option::is_some) && four[0] != Some(0))
}

fn is_ipv6(run: &str) -> bool {
    let colons = run.matches(':').count();
    let ends: &[char] = &['.', ':'];
    let inner = run.trim_matches(ends);
    let starts = [run, inner, run.trim_start_matches(ends), run.trim_end_matches(ends)];
    colons >= 2 && !inner.is_empty() && (colons > 3 || starts.iter().any(|it| it.parse::<Ipv6Addr>().is_ok()))
}

fn is_name(run: &str) -> bool {
    let lower = run.to_ascii_lowercase();
    let before = |ending: &str| lower.find(ending).map(|at| lower[..at].rsplit('.').next().unwrap_or_default().len());
    [".onion", ".b32.i2p"].into_iter().filter_map(before).any(|letters| letters >= FEWEST_LETTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_an_address_is_masked_and_nothing_else() {
        for (text, expected) in [
            ("/Satoshi:27.0.0/", "/Satoshi:27.0.0/"),
            ("/Satoshi:0.21.1.0/", "/Satoshi:0.21.1.0/"),
            ("/Satoshi:27.0.0(@203.0.113.7:8333)/", "/Satoshi:27.0.0(@xxx.x.xxx.x:8333)/"),
            ("1.2.3.4.5", "x.x.x.x.x"),
            ("999.1.2.3", "999.1.2.3"),
            ("v1.2.3.4", "vx.x.x.x"),
            ("[2a01:4f8::1]:8333", "[xxxx:xxx::x]:8333"),
            ("at:2a01:4f8::1.", "at:xxxx:xxx::x."),
            ("::ffff:203.0.113.7", "::xxxx:xxx.x.xxx.x"),
            ("fe80::1%eth0", "xxxx::x%eth0"),
            ("mandatory-script-verify-flag-failed (bad: 12)", "mandatory-script-verify-flag-failed (bad: 12)"),
            ("non-mandatory: 0x51: false", "non-mandatory: 0x51: false"),
            (
                "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion",
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxx",
            ),
            (
                "UDHDRTRCETJM5SXZSKJYR5ZTPESZYDBH4DPL3PL4UTGQQW2V4JNA.b32.i2p:0",
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxx.xxx:0",
            ),
            ("/onion.soup/", "/onion.soup/"),
            ("grüße von 198.51.100.1 ★", "grüße von xxx.xx.xxx.x ★"),
            ("", ""),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }
}
