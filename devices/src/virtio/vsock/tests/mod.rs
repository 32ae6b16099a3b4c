//! Tests of the vsock device: a guest's driver on one side, the broker's other end on the other.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::net::*;
use vm_memory::GuestMemoryMmap;

use super::packet::{HOST_CID, Header, MAX_DATA, TYPE_STREAM, op, shutdown};
use super::*;
use crate::virtio::testing::{BUFFERS, MEMORY_SIZE, Queue, Rig, WRITE, memory, offer, queue, used};

mod connections;
mod flow;
mod malformed;

const CID: u32 = 3;
const TX_BUFFER: u64 = BUFFERS;
const RX_BUFFERS: u64 = BUFFERS + 0x10_0000;
const RX_BUFFER_SIZE: u32 = 4096;

struct Guest<'m> {
    rig: Rig,
    queues: [Queue<'m>; 3],
    broker: OwnedFd,
    sent: u16,
    offered: u16,
    taken: u16,
    /// What the guest says of its own buffers.
    buf_alloc: u32,
    fwd_cnt: u32,
}

fn broker() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

impl<'m> Guest<'m> {
    fn new(memory: &'m GuestMemoryMmap) -> Self {
        let (near, far) = broker();
        let queues = [
            queue(memory, 0, 32),
            queue(memory, 1, 64),
            queue(memory, 2, 8),
        ];
        let device = Vsock::new(CID, near).unwrap();
        let rig = Rig::active(memory, device, &[&queues[0], &queues[1], &queues[2]], 0);
        Self {
            rig,
            queues,
            broker: far,
            sent: 0,
            offered: 0,
            taken: 0,
            buf_alloc: 1 << 20,
            fwd_cnt: 0,
        }
    }

    fn offer(&mut self, buffers: u16) {
        for _ in 0..buffers {
            let at = self.offered % 32;
            let address = RX_BUFFERS + u64::from(at) * u64::from(RX_BUFFER_SIZE);
            offer(&self.queues[RX], at, &[(address, RX_BUFFER_SIZE, WRITE)]);
            self.offered += 1;
        }
        self.rig.kick(RX as u32);
    }

    /// The next packet, when the device has put one into a buffer.
    fn take(&mut self) -> Option<(Header, Vec<u8>)> {
        let (head, length) = used(&self.queues[RX], self.taken)?;
        self.taken += 1;
        let address = RX_BUFFERS + u64::from(head) * u64::from(RX_BUFFER_SIZE);
        let bytes = self.rig.bytes(address, length as usize);
        let header = Header::from_bytes(bytes[..PKT_HEADER_SIZE].try_into().unwrap());
        assert_eq!(header.len as usize, bytes.len() - PKT_HEADER_SIZE);
        self.fwd_cnt += header.len;
        Some((header, bytes[PKT_HEADER_SIZE..].to_vec()))
    }

    /// Offers one buffer and takes the packet that must come.
    fn receive(&mut self) -> (Header, Vec<u8>) {
        self.offer(1);
        self.take().expect("a packet for the guest")
    }

    fn nothing_more(&mut self) {
        self.offer(1);
        assert_eq!(self.take(), None);
    }

    fn header(&self, guest: u32, host: u32, op: u16) -> Header {
        Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: guest,
            dst_port: host,
            len: 0,
            socket_type: TYPE_STREAM,
            op,
            flags: 0,
            buf_alloc: self.buf_alloc,
            fwd_cnt: self.fwd_cnt,
        }
    }

    fn send_packet(&mut self, header: Header, data: &[u8]) {
        self.rig.put(TX_BUFFER, &header.to_bytes());
        self.rig.put(TX_BUFFER + PKT_HEADER_SIZE as u64, data);
        let length = (PKT_HEADER_SIZE + data.len()) as u32;
        self.send_chain(&[(TX_BUFFER, length, 0)]);
    }

    fn send_chain(&mut self, chain: &[(u64, u32, u16)]) {
        offer(&self.queues[TX], 0, chain);
        self.rig.kick(TX as u32);
        assert!(used(&self.queues[TX], self.sent).is_some());
        self.sent = self.sent.wrapping_add(1);
    }

    fn send(&mut self, guest: u32, host: u32, op: u16, data: &[u8]) {
        let len = data.len() as u32;
        let header = self.header(guest, host, op);
        self.send_packet(Header { len, ..header }, data);
    }

    fn shut_down(&mut self, guest: u32, host: u32, flags: u32) {
        let header = self.header(guest, host, op::SHUTDOWN);
        self.send_packet(Header { flags, ..header }, &[]);
    }

    /// The guest connects from `guest` to `host`: the host's end.
    fn connect(&mut self, guest: u32, host: u32) -> UnixStream {
        self.send(guest, host, op::REQUEST, &[]);
        let stream = self.accept(host).expect("a connection for the host");
        let (header, _) = self.receive();
        assert_eq!(
            (header.op, header.src_port, header.dst_port),
            (op::RESPONSE, host, guest)
        );
        assert_eq!((header.src_cid, header.dst_cid), (HOST_CID, CID.into()));
        assert_eq!(header.buf_alloc, BUF_ALLOC);
        stream
    }

    fn accept(&self, port: u32) -> Option<UnixStream> {
        let mut bytes = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(
            &self.broker,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::DONTWAIT,
        )
        .ok()?;
        assert_eq!(u32::from_le_bytes(bytes), port);
        control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next().map(UnixStream::from),
            _ => None,
        })
    }

    /// The host connects to `port` of the guest: the host's end.
    fn dial(&mut self, port: u32) -> UnixStream {
        let (near, far) = UnixStream::pair().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [far.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let port = port.to_le_bytes();
        sendmsg(
            &self.broker,
            &[IoSlice::new(&port)],
            &mut control,
            SendFlags::empty(),
        )
        .unwrap();
        near.set_nonblocking(true).unwrap();
        self.rig.turn();
        near
    }

    fn metrics(&self) -> VsockMetrics {
        match self.rig.transport.metrics() {
            DeviceMetrics::Vsock(metrics) => metrics,
            other => panic!("{other:?}"),
        }
    }
}

fn read_all(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    match stream.read(&mut bytes) {
        Ok(length) => bytes[..length].to_vec(),
        Err(error) => panic!("{error}"),
    }
}
