//! The keys that leave a container while it goes on: Ctrl-P Ctrl-Q, or what `--detach-keys` says.

use std::str::FromStr;

/// A sequence of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// A text that names no keys.
#[derive(Debug, thiserror::Error)]
#[error(
    "invalid detach keys ({0}): expected letters and ctrl-LETTER, separated by commas, as in ctrl-p,ctrl-q"
)]
pub struct InvalidKeys(String);

impl Default for DetachKeys {
    fn default() -> Self {
        Self(vec![16, 17])
    }
}

impl FromStr for DetachKeys {
    type Err = InvalidKeys;

    fn from_str(text: &str) -> Result<Self, InvalidKeys> {
        let key = |name: &str| match name.as_bytes() {
            [key] => Some(*key),
            _ => match name.to_ascii_lowercase().strip_prefix("ctrl-")?.as_bytes() {
                [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
                [b'@'] => Some(0),
                [other @ b'['..=b'_'] => Some(other - b'[' + 27),
                _ => None,
            },
        };
        let keys = text.split(',').map(key).collect::<Option<Vec<_>>>();
        keys.map(Self).ok_or_else(|| InvalidKeys(text.to_owned()))
    }
}

/// Watches what is typed for the keys.
#[derive(Debug)]
pub struct Watch {
    keys: DetachKeys,
    /// How many of the keys have been typed; they are held back until it is clear what they are.
    typed: usize,
}

impl Watch {
    /// Watches for these keys.
    pub fn new(keys: DetachKeys) -> Self {
        Self { keys, typed: 0 }
    }

    /// What of the typed bytes is for the container; and whether the keys have been typed, after which nothing is.
    pub fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let DetachKeys(keys) = &self.keys;
        let mut passed = Vec::with_capacity(bytes.len() + self.typed);
        for byte in bytes {
            if *byte != keys[self.typed] {
                passed.extend_from_slice(&keys[..self.typed]);
                self.typed = 0;
            }
            if *byte != keys[self.typed] {
                passed.push(*byte);
                continue;
            }
            self.typed += 1;
            if self.typed == keys.len() {
                return (passed, true);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names() {
        let keys = |text: &str| text.parse::<DetachKeys>().map(|keys| keys.0).ok();
        assert_eq!(keys("ctrl-p,ctrl-q"), Some(vec![16, 17]));
        assert_eq!(keys("a,CTRL-[,ctrl-@"), Some(vec![b'a', 27, 0]));
        for bad in ["", "ctrl-", "ctrl-1", "ab", "a,"] {
            assert_eq!(keys(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_are_found_across_reads_and_others_are_passed_on() {
        let mut watch = Watch::new(DetachKeys::default());
        assert_eq!(watch.take(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(watch.take(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(watch.take(b"\x10\x10\x10"), (b"\x10\x10".to_vec(), false));
        assert_eq!(watch.take(b"\x11rest"), (Vec::new(), true));
    }
}
