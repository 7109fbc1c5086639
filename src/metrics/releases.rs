//! The user agents of Bitcoin Core's releases, which have places of their own among those of peers.

use super::chosen::Own;

pub(super) const USER_AGENTS: Own = Own { is: is_release, count: RELEASES };

/// How many user agents [`is_release`] accepts.
const RELEASES: usize = 51 + 14 + 3 + 14 * 7 + 1;

/// Whether it is the user agent of a release of Bitcoin Core, or of the branch between two releases, which has 99 as
/// its number: `/Satoshi:0.8.0/` to `/Satoshi:0.21.2/`, all that existed; `/Satoshi:22.0.0/` to `/Satoshi:35.5.0/`,
/// existing and future ones.
fn is_release(user_agent: &str) -> bool {
    let version = user_agent.strip_prefix("/Satoshi:").and_then(|rest| rest.strip_suffix('/'));
    let mut numbers = version.unwrap_or_default().split('.').map(number);
    let version = [(); 4].map(|()| numbers.next());
    let is_release = match version {
        [Some(Some(0)), Some(Some(minor @ 8..=21)), Some(Some(patch)), None] => {
            patch == 99 || patch <= LAST_PATCHES[usize::from(minor) - 8]
        }
        [Some(Some(0)), Some(Some(minor)), Some(Some(patch)), Some(Some(1))] => {
            matches!((minor, patch), (9, 2) | (15, 0) | (17, 0))
        }
        [Some(Some(22..=35)), Some(Some(0..=5 | 99)), Some(Some(0)), None] => true,
        [Some(Some(24)), Some(Some(0)), Some(Some(1)), None] => true,
        _ => false,
    };
    is_release && numbers.next().is_none()
}

/// The last patch releases of 0.8 to 0.21.
const LAST_PATCHES: [u8; 14] = [6, 5, 4, 2, 1, 2, 3, 2, 3, 2, 1, 2, 2, 2];

/// At most two digits, without leading zeros.
fn number(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [b'0'..=b'9'] | [b'1'..=b'9', b'0'..=b'9'] => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_from_what_looks_like_them() {
        let all = ["0.8.0", "0.8.6", "0.9.2.1", "0.12.1", "0.15.0.1", "0.16.99", "0.17.0.1", "0.21.2"];
        let later =
            ["22.0.0", "22.1.0", "24.0.1", "24.2.0", "27.2.0", "28.4.0", "30.99.0", "31.0.0", "32.1.0", "35.0.0"];
        for release in all.into_iter().chain(later) {
            assert!(is_release(&format!("/Satoshi:{release}/")), "{release}");
        }
        for other in ["0.7.0", "0.8.7", "0.21.3", "0.22.0", "1.0.0", "21.0.0", "36.0.0", "29.6.0", "29.0.1", "29.0"] {
            assert!(!is_release(&format!("/Satoshi:{other}/")), "{other}");
        }
        for other in ["29.0.0.0", "29.0.0.1", "0.9.1.1", "0.9.2.1.0", "029.0.0", "0.16.3.", "29.0.0.x", "29.0.0."] {
            assert!(!is_release(&format!("/Satoshi:{other}/")), "{other}");
        }
        for other in ["29.+0.0", "29..0", "", ".", "...", "29.0.0(comment)", "29.0.0/Knots:20250101"] {
            assert!(!is_release(&format!("/Satoshi:{other}/")), "{other}");
        }
        for other in ["/Satoshi:29.0.0", "Satoshi:29.0.0/", "/btcd:29.0.0/", ""] {
            assert!(!is_release(other), "{other}");
        }
    }

    #[test]
    fn so_many_there_are() {
        let versions = (0..100).flat_map(|a| (0..100).flat_map(move |b| (0..100).map(move |c| (a, b, c))));
        let agents = versions
            .flat_map(|(a, b, c)| ["", ".0", ".1", ".2"].map(|fourth| format!("/Satoshi:{a}.{b}.{c}{fourth}/")));
        assert_eq!(agents.filter(|agent| is_release(agent)).count(), RELEASES);
    }
}
