//! The structures on disk, byte for byte (`fs/erofs/erofs_fs.h`).

pub(super) const BLOCK_BITS: u8 = 12;
/// Bytes into the first block at which the superblock stands.
pub(super) const SUPER_OFFSET: usize = 1024;
/// Inodes start at multiples of this; a nid counts them from the start of the metadata.
pub(super) const SLOT: u64 = 32;
pub(super) const DIRENT: usize = 12;
/// The `i_ino` of directories that their layer does not list. Linux does not look at that field.
pub(super) const IMPLIED: u32 = u32::MAX;

pub(super) const MAGIC: u32 = 0xE0F5_E1E2;
const COMPAT_CHECKSUM: u32 = 1;
/// Extended inodes state the modification time, not the change time.
const COMPAT_MTIME: u32 = 2;

/// `struct erofs_super_block`, the fields that are not zero.
pub(super) struct Superblock {
    pub(super) root_nid: u16,
    pub(super) inodes: u64,
    pub(super) build_time: (i64, u32),
    pub(super) blocks: u32,
    pub(super) metadata_block: u32,
    pub(super) uuid: [u8; 16],
}

impl Superblock {
    /// The whole first block of the image.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; 1 << BLOCK_BITS];
        let mut put = |offset: usize, bytes: &[u8]| {
            block[SUPER_OFFSET + offset..][..bytes.len()].copy_from_slice(bytes);
        };
        put(0, &MAGIC.to_le_bytes());
        put(8, &(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
        put(12, &[BLOCK_BITS]);
        put(14, &self.root_nid.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(24, &self.build_time.0.to_le_bytes());
        put(32, &self.build_time.1.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.metadata_block.to_le_bytes());
        put(48, &self.uuid);
        // The checksum covers the rest of the block, with zeros in its own place.
        let checksum = crc32c(&block[SUPER_OFFSET..]);
        block[SUPER_OFFSET + 4..][..4].copy_from_slice(&checksum.to_le_bytes());
        block
    }
}

/// CRC-32C without the final inversion, as `crc32c(~0, …)` in the kernel. Runs once an image.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 0 {
                crc >> 1
            } else {
                crc >> 1 ^ 0x82F6_3B78
            }
        })
    })
}

/// How an inode's data is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In blocks of its own.
    Plain = 0,
    /// The last, incomplete block stands behind the inode.
    Inline = 2,
}

/// What both forms of an inode hold.
pub(super) struct Inode {
    pub(super) layout: Layout,
    pub(super) xattr_size: usize,
    /// With the file type.
    pub(super) mode: u16,
    pub(super) links: u32,
    pub(super) size: u64,
    /// First block, or device number.
    pub(super) data: u32,
    /// A small number for `stat` in 32-bit programs.
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
}

impl Inode {
    /// Bytes of the form that [`encode`](Self::encode) takes: the compact one wherever it can say all.
    pub(super) fn encoded_size(&self, build_time: (i64, u32)) -> usize {
        let is_small = self.uid <= u32::from(u16::MAX)
            && self.gid <= u32::from(u16::MAX)
            && self.links <= u32::from(u16::MAX)
            && self.size <= u64::from(u32::MAX)
            && self.mtime == build_time;
        if is_small { 32 } else { 64 }
    }

    /// `struct erofs_inode_compact` or `struct erofs_inode_extended`.
    pub(super) fn encode(&self, build_time: (i64, u32)) -> Vec<u8> {
        let size = self.encoded_size(build_time);
        let is_extended = size == 64;
        let format = u16::from(is_extended) | (self.layout as u16) << 1;
        let xattr_count = match self.xattr_size {
            0 => 0,
            size => 1 + (size - super::xattr::HEADER) / 4,
        };
        let mut inode = Vec::with_capacity(size);
        inode.extend_from_slice(&format.to_le_bytes());
        inode.extend_from_slice(&(xattr_count as u16).to_le_bytes());
        inode.extend_from_slice(&self.mode.to_le_bytes());
        if is_extended {
            inode.extend_from_slice(&[0; 2]);
            inode.extend_from_slice(&self.size.to_le_bytes());
            inode.extend_from_slice(&self.data.to_le_bytes());
            inode.extend_from_slice(&self.number.to_le_bytes());
            inode.extend_from_slice(&self.uid.to_le_bytes());
            inode.extend_from_slice(&self.gid.to_le_bytes());
            inode.extend_from_slice(&self.mtime.0.to_le_bytes());
            inode.extend_from_slice(&self.mtime.1.to_le_bytes());
            inode.extend_from_slice(&self.links.to_le_bytes());
        } else {
            inode.extend_from_slice(&(self.links as u16).to_le_bytes());
            inode.extend_from_slice(&(self.size as u32).to_le_bytes());
            inode.extend_from_slice(&[0; 4]);
            inode.extend_from_slice(&self.data.to_le_bytes());
            inode.extend_from_slice(&self.number.to_le_bytes());
            inode.extend_from_slice(&(self.uid as u16).to_le_bytes());
            inode.extend_from_slice(&(self.gid as u16).to_le_bytes());
        }
        inode.resize(size, 0);
        inode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_castagnoli_without_inversion() {
        assert_eq!(!crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn inodes_have_their_size_on_disk() {
        let mut inode = Inode {
            layout: Layout::Inline,
            xattr_size: 16,
            mode: 0o100_644,
            links: 1,
            size: 3,
            data: 7,
            number: 1,
            uid: 1000,
            gid: 1000,
            mtime: (5, 6),
        };
        let compact = inode.encode((5, 6));
        assert_eq!((compact.len(), compact[0], compact[2]), (32, 0b100, 2));
        inode.uid = 100_000;
        let extended = inode.encode((5, 6));
        assert_eq!((extended.len(), extended[0]), (64, 0b101));
    }
}
