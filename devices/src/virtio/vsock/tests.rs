//! Tests of the vsock device: a guest's driver on one side, the broker's other end on the other.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use rustix::net::*;
use vm_memory::GuestMemoryMmap;

use super::packet::{HOST_CID, Header, MAX_DATA, TYPE_STREAM, op, shutdown};
use super::*;
use crate::virtio::testing::{BUFFERS, MEMORY_SIZE, Queue, Rig, WRITE, memory, offer, queue, used};

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

#[test]
fn the_guest_connects_and_data_goes_both_ways() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1000, 52);
    guest.send(1000, 52, op::RW, b"hello");
    assert_eq!(read_all(&mut host), b"hello");
    host.write_all(b"world").unwrap();
    guest.rig.turn();
    let (header, data) = guest.receive();
    assert_eq!((header.op, &data[..]), (op::RW, &b"world"[..]));
    assert_eq!(header.fwd_cnt, 5);
    guest.nothing_more();
}

#[test]
fn the_host_connects_and_what_it_wrote_before_arrives() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.dial(1024);
    host.write_all(b"early").unwrap();
    guest.rig.turn();
    let (request, _) = guest.receive();
    assert_eq!((request.op, request.dst_port), (op::REQUEST, 1024));
    assert!(request.src_port >= 1 << 30);
    guest.nothing_more();
    guest.send(1024, request.src_port, op::RESPONSE, &[]);
    let (header, data) = guest.take().expect("the buffer offered before is used");
    assert_eq!((header.op, &data[..]), (op::RW, &b"early"[..]));
    let mut other = guest.dial(1024);
    assert_ne!(guest.receive().0.src_port, request.src_port);
    // Nobody listens: the socket is closed.
    guest.send(1024, request.src_port + 1, op::RST, &[]);
    assert_eq!(read_all(&mut other), b"");
}

#[test]
fn both_sides_can_stop_sending_and_go_on_receiving() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1000, 52);
    host.write_all(b"last").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    guest.rig.turn();
    assert_eq!(guest.receive().1, b"last");
    let (header, _) = guest.receive();
    assert_eq!((header.op, header.flags), (op::SHUTDOWN, shutdown::SEND));
    guest.send(1000, 52, op::RW, b"answer");
    assert_eq!(read_all(&mut host), b"answer");
    guest.shut_down(1000, 52, shutdown::SEND);
    assert_eq!(read_all(&mut host), b"");
    guest.shut_down(1000, 52, shutdown::RECEIVE);
    assert_eq!(guest.receive().0.op, op::RST);
    guest.nothing_more();
}

#[test]
fn a_host_that_closes_is_announced_after_its_data() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1000, 52);
    host.write_all(b"bye").unwrap();
    drop(host);
    guest.rig.turn();
    assert_eq!(guest.receive().1, b"bye");
    let (header, _) = guest.receive();
    assert_eq!((header.op, header.flags), (op::SHUTDOWN, shutdown::BOTH));
    guest.send(1000, 52, op::RW, b"too late");
    guest.send(1000, 52, op::RST, &[]);
    guest.nothing_more();
    // The ports are free again.
    let _host = guest.connect(1000, 52);
}

#[test]
fn a_slow_host_gets_everything_even_after_the_guest_has_closed() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1000, 52);
    let mut sent = 0usize;
    let mut credit = BUF_ALLOC as usize;
    // Until the socket's buffer and then ours are full.
    guest.offer(16);
    loop {
        while let Some((header, _)) = guest.take() {
            assert_eq!(header.op, op::CREDIT_UPDATE);
            credit = header.fwd_cnt as usize + BUF_ALLOC as usize - sent;
            guest.offer(1);
        }
        let length = credit.min(32 << 10);
        if length == 0 {
            break;
        }
        let data: Vec<u8> = (sent..sent + length).map(|at| (at % 251) as u8).collect();
        guest.send(1000, 52, op::RW, &data);
        sent += length;
        credit -= length;
    }
    assert!(sent > BUF_ALLOC as usize);
    guest.shut_down(1000, 52, shutdown::BOTH);
    assert_eq!(guest.take().unwrap().0.op, op::RST);
    let mut received: Vec<u8> = Vec::new();
    loop {
        let mut piece = [0; 7777];
        match host.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => received.extend(&piece[..length]),
            Err(error) => panic!("after {} of {sent} bytes: {error}", received.len()),
        }
        guest.rig.turn();
    }
    assert_eq!(received.len(), sent);
    assert!(
        received
            .iter()
            .enumerate()
            .all(|(at, &byte)| byte == (at % 251) as u8)
    );
}

#[test]
fn credit_is_announced_when_half_of_it_is_used() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1000, 52);
    guest.offer(4);
    let piece = vec![7; BUF_ALLOC as usize / 8];
    for round in 1..=4 {
        assert_eq!(guest.take(), None, "round {round}");
        guest.send(1000, 52, op::RW, &piece);
        read_all(&mut host);
    }
    let (header, _) = guest.take().unwrap();
    assert_eq!(
        (header.op, header.fwd_cnt),
        (op::CREDIT_UPDATE, BUF_ALLOC / 2)
    );
    guest.send(1000, 52, op::CREDIT_REQUEST, &[]);
    assert_eq!(guest.take().unwrap().0.op, op::CREDIT_UPDATE);
    assert_eq!(guest.take(), None);
}

#[test]
fn more_than_the_credit_is_a_violation() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let _host = guest.connect(1000, 52);
    let data = vec![0; MAX_DATA];
    guest.offer(16);
    for _ in 0..100 {
        guest.send(1000, 52, op::RW, &data);
        if guest.metrics().violations > 0 {
            break;
        }
    }
    assert_eq!(guest.metrics().violations, 1);
    let last = std::iter::from_fn(|| guest.take()).last().unwrap();
    assert_eq!(last.0.op, op::RST);
}

#[test]
fn the_device_keeps_to_the_guests_credit_and_to_its_buffers() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    guest.buf_alloc = 100;
    let mut host = guest.connect(1000, 52);
    host.write_all(&[1; 10_000]).unwrap();
    guest.rig.turn();
    assert_eq!(guest.receive().1.len(), 100);
    guest.nothing_more();
    guest.buf_alloc = 1 << 20;
    guest.send(1000, 52, op::CREDIT_UPDATE, &[]);
    let payload = RX_BUFFER_SIZE as usize - PKT_HEADER_SIZE;
    assert_eq!(guest.take().unwrap().1.len(), payload);
    // No buffer is left, so the rest stays in the socket, and the loop at rest.
    host.write_all(&[1; 100]).unwrap();
    guest.rig.turn();
    assert_eq!(guest.take(), None);
    guest.offer(4);
    let rest: usize = std::iter::from_fn(|| guest.take())
        .map(|(_, data)| data.len())
        .sum();
    assert_eq!(100 + payload + rest, 10_100);
}

#[test]
fn connections_take_turns() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut hosts = [guest.connect(1000, 52), guest.connect(1001, 52)];
    for host in &mut hosts {
        host.write_all(&[1; 20_000]).unwrap();
    }
    guest.rig.turn();
    guest.offer(4);
    let ports: Vec<_> = std::iter::from_fn(|| guest.take())
        .map(|(header, _)| header.dst_port)
        .collect();
    assert_eq!(ports[0], ports[2]);
    assert_eq!(ports[1], ports[3]);
    assert_ne!(ports[0], ports[1]);
}

#[test]
fn what_belongs_to_no_connection_is_reset() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    guest.send(1000, 52, op::RW, b"?");
    let (header, _) = guest.receive();
    assert_eq!(
        (header.op, header.src_port, header.dst_port),
        (op::RST, 52, 1000)
    );
    guest.send(1000, 52, op::RST, &[]);
    guest.nothing_more();
    let request = guest.header(1000, 52, op::REQUEST);
    guest.send_packet(
        Header {
            dst_cid: 77,
            ..request
        },
        &[],
    );
    assert_eq!(guest.take().unwrap().0.op, op::RST);
    guest.send_packet(
        Header {
            socket_type: 2,
            ..request
        },
        &[],
    );
    assert_eq!(guest.receive().0.op, op::RST);
    guest.send_packet(
        Header {
            src_cid: 9,
            ..request
        },
        &[],
    );
    guest.nothing_more();
    assert_eq!(guest.metrics().malformed, 1);
}

#[test]
fn a_host_without_a_broker_refuses() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let (other, _) = broker();
    drop(std::mem::replace(&mut guest.broker, other));
    guest.rig.turn();
    guest.send(1000, 52, op::REQUEST, &[]);
    assert_eq!(guest.receive().0.op, op::RST);
}

#[test]
fn unanswered_resets_are_bounded() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    for _ in 0..300 {
        offer(
            &guest.queues[TX],
            0,
            &[(TX_BUFFER, PKT_HEADER_SIZE as u32, 0)],
        );
        let header = guest.header(1000, 52, op::RW);
        guest.rig.put(TX_BUFFER, &header.to_bytes());
        guest.rig.kick(TX as u32);
    }
    assert_eq!(guest.metrics().resets, 256);
    guest.offer(32);
    assert_eq!(guest.metrics().resets, 288);
}

#[test]
fn data_in_pieces_is_put_together() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1000, 52);
    let header = guest.header(1000, 52, op::RW);
    guest
        .rig
        .put(TX_BUFFER, &Header { len: 6, ..header }.to_bytes());
    guest.rig.put(TX_BUFFER + 0x1000, b"abc");
    guest.rig.put(TX_BUFFER + 0x2000, b"def");
    guest.send_chain(&[
        (TX_BUFFER, 44, 0),
        (TX_BUFFER + 0x1000, 3, 0),
        (TX_BUFFER + 0x2000, 3, 0),
    ]);
    assert_eq!(read_all(&mut host), b"abcdef");
}

#[test]
fn malformed_chains_are_counted_and_come_back() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let header = guest.header(1000, 52, op::RW);
    guest
        .rig
        .put(TX_BUFFER, &Header { len: 100, ..header }.to_bytes());
    let chains: [&[_]; 5] = [
        &[(TX_BUFFER, 43, 0)],
        &[(TX_BUFFER, 44, 0)],
        &[(TX_BUFFER, 44, WRITE)],
        &[(MEMORY_SIZE - 4, 44, 0)],
        &[(TX_BUFFER, 44, 0), (TX_BUFFER, u32::MAX, WRITE)],
    ];
    for (count, chain) in (1..).zip(chains) {
        guest.send_chain(chain);
        assert_eq!(guest.metrics().malformed, count);
    }
    // Receive buffers that can't hold a packet.
    guest.rig.put(TX_BUFFER, &header.to_bytes());
    guest.send_chain(&[(TX_BUFFER, 44, 0)]);
    for (at, chain) in [
        [(RX_BUFFERS, 44, WRITE)],
        [(RX_BUFFERS, 4096, 0)],
        [(MEMORY_SIZE, 4096, WRITE)],
    ]
    .iter()
    .enumerate()
    {
        offer(&guest.queues[RX], at as u16, chain);
    }
    guest.rig.kick(RX as u32);
    assert_eq!(guest.metrics().malformed, 8);
}

#[test]
fn after_a_restore_the_guest_is_told_that_its_connections_are_gone() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1000, 52);
    let state = guest.rig.transport.save();
    let event = BUFFERS + 0x8_0000;
    guest.rig.put(event, &[0xff; 4]);
    offer(&guest.queues[EVENT], 0, &[(event, 4, WRITE)]);

    let (near, far) = broker();
    guest.rig = Rig::restored(&memory, Vsock::new(5, near).unwrap(), &state);
    guest.broker = far;
    assert_eq!(used(&guest.queues[EVENT], 0), Some((0, 4)));
    assert_eq!(guest.rig.bytes(event, 4), [0; 4]);
    assert!(guest.rig.interrupted());
    assert_eq!(
        read_all(&mut host),
        b"",
        "the old device is gone, and its sockets with it"
    );
    // It has the new context id.
    let mut cid = [0; 8];
    guest.rig.transport.read(0x100, &mut cid);
    assert_eq!(u64::from_le_bytes(cid), 5);
}

#[test]
fn a_reset_by_the_driver_closes_everything() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1000, 52);
    guest
        .rig
        .write(virtio_bindings::virtio_mmio::VIRTIO_MMIO_STATUS, 0);
    guest.rig.turn();
    assert_eq!(read_all(&mut host), b"");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn headers_survive_the_round_trip(bytes in proptest::collection::vec(any::<u8>(), PKT_HEADER_SIZE)) {
        let bytes: [u8; PKT_HEADER_SIZE] = bytes.try_into().unwrap();
        prop_assert_eq!(Header::from_bytes(&bytes).to_bytes(), bytes);
    }

    #[test]
    fn no_sequence_of_packets_upsets_the_device(
        packets in proptest::collection::vec(
            (0u32..3, 50u32..52, 0u16..9, 0u32..5, any::<u32>(), any::<u32>(), 0usize..2000, any::<bool>()), 1..40),
    ) {
        let memory = memory();
        let mut guest = Guest::new(&memory);
        let mut hosts = Vec::new();
        for (guest_port, host_port, op, flags, buf_alloc, fwd_cnt, length, dial) in packets {
            let header = guest.header(guest_port, host_port, op);
            let header = Header { flags, buf_alloc, fwd_cnt, len: length as u32, ..header };
            guest.send_packet(header, &vec![1; length]);
            hosts.extend(guest.accept(host_port));
            if dial {
                hosts.push(guest.dial(guest_port));
            }
            for host in &mut hosts {
                let _ = host.write(b"x");
            }
            guest.rig.turn();
            guest.offer(1);
            guest.take();
        }
    }
}
