//! Layers written header by header, so that they can hold what no tool would write.

use std::io::Write;

use tar::{Builder, EntryType, Header};

pub struct LayerBuilder {
    tar: Builder<Vec<u8>>,
    pub mtime: u64,
}

pub fn layer() -> LayerBuilder {
    LayerBuilder {
        tar: Builder::new(Vec::new()),
        mtime: 1_600_000_000,
    }
}

impl LayerBuilder {
    /// An entry whose name stands in the header as it is, up to 100 bytes.
    pub fn raw(
        mut self,
        kind: EntryType,
        name: &[u8],
        link: &[u8],
        data: &[u8],
        set: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_mtime(self.mtime);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(data.len() as u64);
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(0).unwrap();
            header.set_device_minor(0).unwrap();
        }
        if name.len() > 100 {
            self = self.gnu_long(b'L', name);
        }
        if link.len() > 100 {
            self = self.gnu_long(b'K', link);
        }
        let bytes = header.as_mut_bytes();
        bytes[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        bytes[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        set(&mut header);
        header.set_cksum();
        self.tar.append(&header, data).unwrap();
        self
    }

    fn gnu_long(mut self, kind: u8, text: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::new(kind));
        header.set_size(text.len() as u64 + 1);
        header.set_mode(0);
        header.as_mut_bytes()[..13].copy_from_slice(b"././@LongLink");
        header.set_cksum();
        self.tar
            .append(&header, &[text, b"\0"].concat()[..])
            .unwrap();
        self
    }

    pub fn file(self, name: &str, data: impl AsRef<[u8]>) -> Self {
        self.raw(
            EntryType::Regular,
            name.as_bytes(),
            b"",
            data.as_ref(),
            |_| {},
        )
    }

    pub fn file_as(
        self,
        name: &str,
        data: impl AsRef<[u8]>,
        mode: u32,
        uid: u64,
        gid: u64,
    ) -> Self {
        self.raw(
            EntryType::Regular,
            name.as_bytes(),
            b"",
            data.as_ref(),
            |header| {
                header.set_mode(mode);
                header.set_uid(uid);
                header.set_gid(gid);
            },
        )
    }

    pub fn dir(self, name: &str) -> Self {
        self.dir_as(name, 0o755, 0, 0)
    }

    pub fn dir_as(self, name: &str, mode: u32, uid: u64, gid: u64) -> Self {
        self.raw(EntryType::Directory, name.as_bytes(), b"", b"", |header| {
            header.set_mode(mode);
            header.set_uid(uid);
            header.set_gid(gid);
        })
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(
            EntryType::Symlink,
            name.as_bytes(),
            target.as_bytes(),
            b"",
            |header| header.set_mode(0o777),
        )
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.raw(
            EntryType::Link,
            name.as_bytes(),
            target.as_bytes(),
            b"",
            |_| {},
        )
    }

    pub fn device(self, kind: EntryType, name: &str, major: u32, minor: u32) -> Self {
        self.raw(kind, name.as_bytes(), b"", b"", |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    pub fn fifo(self, name: &str) -> Self {
        self.raw(EntryType::Fifo, name.as_bytes(), b"", b"", |_| {})
    }

    /// Records for the entry that follows.
    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.tar
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.tar.into_inner().unwrap()
    }
}

/// What makes a layer out of a host folder with GNU tar.
pub fn gnu_tar(folder: &std::path::Path, options: &[&str]) -> Vec<u8> {
    let output = std::process::Command::new("tar")
        .args(options)
        .args(["--numeric-owner", "-C", folder.to_str().unwrap(), "-c", "."])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Bytes that differ from block to block and do not compress.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
