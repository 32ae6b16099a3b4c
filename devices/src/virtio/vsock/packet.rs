//! A packet's header: 44 bytes, section 5.10.6 of the specification.

use virtio_vsock::packet::{PKT_HEADER_SIZE, VsockPacket};
use vm_memory::{GuestMemoryMmap, VolatileSlice};

use crate::virtio::chain::Chain;
use crate::virtio::queue::GuestChain;

/// The most data in one packet, in bytes. Linux sends no more either.
pub const MAX_DATA: usize = 64 << 10;

/// The host's context id.
pub const HOST_CID: u64 = 2;

/// The only type of socket that the device has.
pub const TYPE_STREAM: u16 = 1;

/// What a packet is for: `VIRTIO_VSOCK_OP_*`.
pub mod op {
    #![allow(missing_docs)]
    pub const REQUEST: u16 = 1;
    pub const RESPONSE: u16 = 2;
    pub const RST: u16 = 3;
    pub const SHUTDOWN: u16 = 4;
    pub const RW: u16 = 5;
    pub const CREDIT_UPDATE: u16 = 6;
    pub const CREDIT_REQUEST: u16 = 7;
}

/// The flags of a [`op::SHUTDOWN`]: what its sender won't do any more.
pub mod shutdown {
    #![allow(missing_docs)]
    pub const RECEIVE: u32 = 1;
    pub const SEND: u32 = 2;
    pub const BOTH: u32 = RECEIVE | SEND;
}

/// A packet's header, in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Header {
    pub src_cid: u64,
    pub dst_cid: u64,
    pub src_port: u32,
    pub dst_port: u32,
    pub len: u32,
    pub socket_type: u16,
    pub op: u16,
    pub flags: u32,
    pub buf_alloc: u32,
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads a header as it is in the guest's memory.
    pub fn from_bytes(bytes: &[u8; PKT_HEADER_SIZE]) -> Self {
        let u64_at = |at: usize| std::array::from_fn(|i| bytes[at + i]);
        let u32_at = |at: usize| std::array::from_fn(|i| bytes[at + i]);
        let u16_at = |at: usize| std::array::from_fn(|i| bytes[at + i]);
        Self {
            src_cid: u64::from_le_bytes(u64_at(0)),
            dst_cid: u64::from_le_bytes(u64_at(8)),
            src_port: u32::from_le_bytes(u32_at(16)),
            dst_port: u32::from_le_bytes(u32_at(20)),
            len: u32::from_le_bytes(u32_at(24)),
            socket_type: u16::from_le_bytes(u16_at(28)),
            op: u16::from_le_bytes(u16_at(30)),
            flags: u32::from_le_bytes(u32_at(32)),
            buf_alloc: u32::from_le_bytes(u32_at(36)),
            fwd_cnt: u32::from_le_bytes(u32_at(40)),
        }
    }

    /// The header as it is in the guest's memory.
    pub fn to_bytes(self) -> [u8; PKT_HEADER_SIZE] {
        let mut bytes = [0; PKT_HEADER_SIZE];
        let mut set = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        set(0, &self.src_cid.to_le_bytes());
        set(8, &self.dst_cid.to_le_bytes());
        set(16, &self.src_port.to_le_bytes());
        set(20, &self.dst_port.to_le_bytes());
        set(24, &self.len.to_le_bytes());
        set(28, &self.socket_type.to_le_bytes());
        set(30, &self.op.to_le_bytes());
        set(32, &self.flags.to_le_bytes());
        set(36, &self.buf_alloc.to_le_bytes());
        set(40, &self.fwd_cnt.to_le_bytes());
        bytes
    }

    /// The answer to a packet that belongs to no connection.
    pub fn reset_for(packet: &Self) -> Self {
        Self {
            src_cid: packet.dst_cid,
            dst_cid: packet.src_cid,
            src_port: packet.dst_port,
            dst_port: packet.src_port,
            len: 0,
            socket_type: packet.socket_type,
            op: op::RST,
            flags: 0,
            buf_alloc: 0,
            fwd_cnt: 0,
        }
    }
}

impl From<&VsockPacket<'_, ()>> for Header {
    fn from(packet: &VsockPacket<'_, ()>) -> Self {
        Self {
            src_cid: packet.src_cid(),
            dst_cid: packet.dst_cid(),
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            len: packet.len(),
            socket_type: packet.type_(),
            op: packet.op(),
            flags: packet.flags(),
            buf_alloc: packet.buf_alloc(),
            fwd_cnt: packet.fwd_cnt(),
        }
    }
}

/// Parses a packet from the guest and hands it to `receive`, with its data, when there is any. Returns whether it was well formed.
pub fn receive_packet(
    memory: &GuestMemoryMmap,
    chain: GuestChain,
    receive: impl FnOnce(&Header, Option<&VolatileSlice>),
) -> bool {
    // The usual layout: header and data in a descriptor each, or both in one. The data is not copied.
    if let Ok(packet) =
        VsockPacket::from_tx_virtq_chain(memory, &mut chain.clone(), MAX_DATA as u32)
    {
        receive(&Header::from(&packet), packet.data_slice());
        return true;
    }
    // Any other layout that the specification allows, such as data in several pieces.
    let Some((header, data)) = Chain::parse(memory, chain)
        .ok()
        .and_then(|chain| chain.readable.split_at(PKT_HEADER_SIZE))
    else {
        return false;
    };
    let mut bytes = [0; PKT_HEADER_SIZE];
    header.read(&mut bytes);
    let header = Header::from_bytes(&bytes);
    let length = header.len as usize;
    if length > MAX_DATA || length > data.len() {
        return false;
    }
    let mut copy = vec![0; length];
    data.read(&mut copy);
    let copy = (length > 0).then(|| VolatileSlice::from(&mut copy[..]));
    receive(&header, copy.as_ref());
    true
}
