//! Extended attributes of an inode, kept as the bytes that follow it on disk.

/// Size of `struct erofs_xattr_ibody_header`, in bytes.
pub(super) const HEADER: usize = 12;
/// The inode counts the words behind the header, and the header as one, in 16 bits.
const MAX_SIZE: usize = HEADER + 4 * (u16::MAX as usize - 1);

/// Prefixes that the format knows by a number (`EROFS_XATTR_INDEX_*`); the two ACLs are whole names.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// A full name and its value.
type Xattr = (Box<[u8]>, Box<[u8]>);

/// overlayfs's mark for a directory that hides the layers below.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// A set of extended attributes.
#[derive(Debug, Clone, Default)]
pub struct Xattrs(Vec<Xattr>);

impl Xattrs {
    /// Whether an image can hold an attribute of this name.
    pub fn can_hold(name: &[u8]) -> bool {
        split(name).is_some()
    }

    /// Sets `name`, with its prefix, to `value`.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.0.retain(|(other, _)| &**other != name);
        self.0.push((name.into(), value.into()));
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether all of it fits one inode.
    pub fn fits(&self) -> bool {
        self.iter().all(|(name, value)| {
            split(name).is_some_and(|(_, rest)| rest.len() <= 255)
                && value.len() <= usize::from(u16::MAX)
        }) && self.encode(true).len() <= MAX_SIZE
    }

    /// The header and the entries; empty when there are none. `opaque` adds overlayfs's mark.
    pub(super) fn encode(&self, opaque: bool) -> Vec<u8> {
        let mark = opaque.then_some((OPAQUE, &b"y"[..]));
        let mut body = Vec::new();
        for (name, value) in self.iter().chain(mark) {
            let Some((index, rest)) = split(name) else {
                continue;
            };
            if body.is_empty() {
                body.resize(HEADER, 0);
            }
            body.extend_from_slice(&[rest.len() as u8, index]);
            body.extend_from_slice(&(value.len() as u16).to_le_bytes());
            body.extend_from_slice(rest);
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body
    }
}

impl Xattrs {
    /// Reads back what [`encode`](Self::encode) gave.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, bool)> {
        let mut xattrs = Self::default();
        let mut opaque = false;
        let mut rest = bytes.get(HEADER..).unwrap_or_default();
        while !rest.is_empty() {
            let (head, body) = rest.split_at_checked(4)?;
            let (length, index) = (usize::from(head[0]), head[1]);
            let value_length = usize::from(u16::from_le_bytes([head[2], head[3]]));
            let (prefix, _) = PREFIXES.iter().find(|(_, known)| *known == index)?;
            let name = [prefix, body.get(..length)?].concat();
            let value = body.get(length..length + value_length)?;
            match &*name {
                OPAQUE => opaque = true,
                name => xattrs.set(name, value),
            }
            let size = (4 + length + value_length).next_multiple_of(4);
            rest = rest.get(size..)?;
        }
        Some((xattrs, opaque))
    }

    /// Whether both are the same, in any order.
    pub fn same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|xattr| other.0.contains(xattr))
    }
}

fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|&(prefix, index)| {
        let rest = name.strip_prefix(prefix)?;
        let is_whole_name = !prefix.ends_with(b".");
        (rest.is_empty() == is_whole_name).then_some((index, rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_to_words() {
        let mut xattrs = Xattrs::default();
        assert!(xattrs.encode(false).is_empty());
        xattrs.set(b"user.a", b"1");
        xattrs.set(b"user.a", b"23");
        assert_eq!(
            xattrs.encode(false),
            [&[0; 12][..], &[1, 1, 2, 0], b"a23\0"].concat()
        );
        assert_eq!(xattrs.encode(true).len(), 20 + 20);
        xattrs.set(b"system.posix_acl_access", b"acl");
        let (read, opaque) = Xattrs::decode(&xattrs.encode(true)).unwrap();
        assert!(read.same(&xattrs) && opaque);
    }

    #[test]
    fn unknown_name_spaces_and_empty_names_are_not_held() {
        assert!(Xattrs::can_hold(b"system.posix_acl_access"));
        for name in [
            &b"user."[..],
            b"system.nfs4_acl",
            b"system.posix_acl_accessx",
            b"btrfs.x",
            b"",
        ] {
            assert!(!Xattrs::can_hold(name), "{}", name.escape_ascii());
        }
    }
}
