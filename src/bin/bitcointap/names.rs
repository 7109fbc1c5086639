//! Names that the operator gives to lists and outputs. In: a name. Out: whether it can be a label's value, which metrics and logs show.

/// The longest name, in bytes.
const LONGEST: usize = 32;

/// Checks a name. `whose` is for the error, such as `a list's`.
pub fn check(whose: &str, name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || name.len() > LONGEST || !name.bytes().all(is_plain) {
        return Err(format!("{whose} name is 1 to {LONGEST} letters, digits, '_', '.' and '-'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_short() {
        for name in ["a", "LinkingLion.v1_a-b", &"x".repeat(LONGEST)] {
            assert_eq!(check("a list's", name), Ok(()));
        }
        for name in ["", "a b", "ä", "a\"", "a=b", &"x".repeat(LONGEST + 1)] {
            let words = "a list's name is 1 to 32 letters, digits, '_', '.' and '-'";
            assert_eq!(check("a list's", name), Err(words.into()), "{name}");
        }
    }
}
