//! The 512-byte header block: fields, numbers, checksum.

use super::EntryKind;

/// Size of every unit in an archive, in bytes.
pub(super) const BLOCK: usize = 512;

/// One header block.
pub(super) struct Header(pub(super) [u8; BLOCK]);

/// Which of the formats a header is in, by its magic.
#[derive(PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Gnu,
}

impl Header {
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }

    /// The sum of all bytes with the checksum itself as blanks; some old writers summed signed bytes.
    pub(super) fn checksum_is_right(&self) -> bool {
        let Some(stated) = number(&self.0[148..156]) else {
            return false;
        };
        let bytes = self
            .0
            .iter()
            .enumerate()
            .map(|(i, &b)| if (148..156).contains(&i) { b' ' } else { b });
        let unsigned: i64 = bytes.clone().map(i64::from).sum();
        let signed: i64 = bytes.map(|b| i64::from(b.cast_signed())).sum();
        stated == unsigned || stated == signed
    }

    pub(super) fn format(&self) -> Format {
        match &self.0[257..265] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => Format::Ustar,
            _ => Format::V7,
        }
    }

    /// Name, with the prefix that only the POSIX format has.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = text(&self.0[345..500]);
        if self.format() == Format::Ustar && !prefix.is_empty() {
            [prefix, b"/", name].concat()
        } else {
            name.to_vec()
        }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Option<u16> {
        // Some writers put the file type into the upper bits.
        number(&self.0[100..108]).map(|mode| (mode & 0o7777) as u16)
    }

    pub(super) fn uid(&self) -> Option<u32> {
        number(&self.0[108..116])?.try_into().ok()
    }

    pub(super) fn gid(&self) -> Option<u32> {
        number(&self.0[116..124])?.try_into().ok()
    }

    pub(super) fn size(&self) -> Option<u64> {
        number(&self.0[124..136])?.try_into().ok()
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    pub(super) fn typeflag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn kind(&self) -> EntryKind {
        match self.typeflag() {
            // Before POSIX a directory was known by its trailing slash only.
            b'\0' if self.path().ends_with(b"/") => EntryKind::Directory,
            b'\0' | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => EntryKind::Other(other),
        }
    }

    pub(super) fn device(&self) -> Option<(u32, u32)> {
        let part = |range: std::ops::Range<usize>| number(&self.0[range])?.try_into().ok();
        Some((part(329..337)?, part(337..345)?))
    }
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// An octal number among blanks and NULs, or, with the top bit set, a big-endian binary one (GNU).
///
/// An empty field is 0. `None` for anything else.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (i, &byte) in field.iter().enumerate() {
            let byte = if i == 0 && !negative {
                byte & 0x7f
            } else {
                byte
            };
            value = value << 8 | i128::from(byte);
            i64::try_from(value).ok()?;
        }
        return i64::try_from(value).ok();
    }
    let is_padding = |&byte: &u8| byte == b' ' || byte == 0;
    let start = field
        .iter()
        .position(|byte| !is_padding(byte))
        .unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(is_padding).unwrap_or(digits.len());
    if !digits[end..].iter().all(is_padding) {
        // Some writers leave rubbish behind the terminating NUL; what precedes it counts.
        digits.get(end).filter(|&&byte| byte == 0)?;
    }
    digits[..end]
        .iter()
        .try_fold(0i64, |value, &digit| match digit {
            b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\x01\0\0"), Some(65536));
        assert_eq!(
            number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            Some(-1)
        );
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert_eq!(number(b"12345x7\0"), None);
        assert_eq!(number(b"9\0\0\0\0\0\0\0"), None);
        assert_eq!(
            number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            None
        );
    }
}
