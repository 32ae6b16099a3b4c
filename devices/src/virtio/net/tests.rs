//! Tests of the network interface, on a socket, and on a tap in a network namespace of their own; these need the right to make one.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;

use vm_memory::GuestMemoryMmap;

use super::*;
use crate::virtio::testing::{BUFFERS, MEMORY_SIZE, Queue, Rig, WRITE, memory, offer, queue, used};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// An ethertype for experiments, which nothing else uses.
const ETHERTYPE: u16 = 0x88b5;
const RX_BUFFERS: u64 = BUFFERS + 0x10_0000;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// A tap and a packet socket on it, in a new network namespace of this thread.
#[allow(clippy::undocumented_unsafe_blocks)]
fn host() -> io::Result<(OwnedFd, OwnedFd)> {
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNET))?;
        // No neighbour discovery among the packets.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let owned = |fd| OwnedFd::from_raw_fd(fd);
        let tap = owned(check(libc::open(
            c"/dev/net/tun".as_ptr(),
            libc::O_RDWR | libc::O_CLOEXEC,
        ))?);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16;
        check(libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &mut request))?;
        let protocol = i32::from(ETHERTYPE.to_be());
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let packets = owned(check(libc::socket(libc::AF_PACKET, kind, protocol))?);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
        check(libc::ioctl(
            packets.as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &request,
        ))?;
        check(libc::ioctl(
            packets.as_raw_fd(),
            libc::SIOCGIFINDEX,
            &mut request,
        ))?;
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ETHERTYPE.to_be();
        address.sll_ifindex = request.ifr_ifru.ifru_ifindex;
        let length = size_of_val(&address) as u32;
        check(libc::bind(
            packets.as_raw_fd(),
            (&raw const address).cast(),
            length,
        ))?;
        Ok((tap, packets))
    }
}

fn frame(length: usize) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &MAC, &ETHERTYPE.to_be_bytes()].concat();
    frame.extend((14..length).map(|at| at as u8));
    frame
}

struct Guest<'m> {
    rig: Rig,
    queues: [Queue<'m>; 2],
    packets: OwnedFd,
    taken: u16,
}

impl<'m> Guest<'m> {
    /// `None` when namespaces and taps are not to be had.
    fn new(memory: &'m GuestMemoryMmap, without: u64) -> Option<Self> {
        let (tap, packets) = match host() {
            Ok(host) => host,
            Err(error) => {
                eprintln!("left out: a tap in a network namespace can't be made: {error}");
                return None;
            }
        };
        let queues = [queue(memory, 0, 128), queue(memory, 1, 128)];
        let rig = Rig::active(
            memory,
            Net::new(tap, MAC).unwrap(),
            &[&queues[0], &queues[1]],
            without,
        );
        Some(Self {
            rig,
            queues,
            packets,
            taken: 0,
        })
    }

    fn offer(&mut self, buffers: std::ops::Range<u16>, length: u32) {
        for at in buffers {
            offer(
                &self.queues[RX],
                at,
                &[(RX_BUFFERS + u64::from(at) * 4096, length, WRITE)],
            );
        }
        self.rig.kick(RX as u32);
    }

    /// The next packet's header and frame; packets of other kinds are left out.
    fn take(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        loop {
            let mut bytes = Vec::new();
            let mut buffers = 1;
            while buffers > 0 {
                let (head, length) = used(&self.queues[RX], self.taken)?;
                bytes.extend(
                    self.rig
                        .bytes(RX_BUFFERS + u64::from(head) * 4096, length as usize),
                );
                if buffers == 1 && bytes.len() == length as usize {
                    buffers = u16::from_le_bytes([bytes[NUM_BUFFERS], bytes[NUM_BUFFERS + 1]]);
                }
                self.taken += 1;
                buffers -= 1;
            }
            let frame = bytes.split_off(HEADER_SIZE);
            if frame[12..14] == ETHERTYPE.to_be_bytes() {
                return Some((bytes, frame));
            }
        }
    }

    fn host_sends(&mut self, frame: &[u8]) {
        rustix::net::send(&self.packets, frame, rustix::net::SendFlags::empty()).unwrap();
        self.rig.turn();
    }

    fn metrics(&self) -> NetMetrics {
        match self.rig.transport.metrics() {
            DeviceMetrics::Net(metrics) => metrics,
            other => panic!("{other:?}"),
        }
    }
}

const NO_TSO: u64 = 1 << VIRTIO_NET_F_GUEST_TSO4 | 1 << VIRTIO_NET_F_GUEST_TSO6;

#[test]
fn the_host_gets_what_the_guest_sends() {
    let memory = memory();
    let Some(mut guest) = Guest::new(&memory, 0) else {
        return;
    };
    let frame = frame(300);
    guest.rig.put(BUFFERS, &[0; HEADER_SIZE]);
    guest.rig.put(BUFFERS + 0x1000, &frame[..100]);
    guest.rig.put(BUFFERS + 0x2000, &frame[100..]);
    let chain = [
        (BUFFERS, 12, 0),
        (BUFFERS + 0x1000, 100, 0),
        (BUFFERS + 0x2000, 200, 0),
    ];
    offer(&guest.queues[TX], 0, &chain);
    guest.rig.kick(TX as u32);
    assert_eq!(used(&guest.queues[TX], 0), Some((0, 0)));
    let mut received = [0; 2000];
    let (length, _) = rustix::net::recv(
        &guest.packets,
        &mut received,
        rustix::net::RecvFlags::empty(),
    )
    .unwrap();
    assert_eq!(received[..length], frame);
    assert_eq!(
        (guest.metrics().tx_packets, guest.metrics().tx_bytes),
        (1, 312)
    );
    // The address is in the configuration space.
    let mut mac = [0; 6];
    guest.rig.transport.read(0x100, &mut mac);
    assert_eq!(mac, MAC);
}

#[test]
fn the_guest_gets_what_the_host_sends_in_as_many_buffers_as_it_takes() {
    let memory = memory();
    let Some(mut guest) = Guest::new(&memory, NO_TSO) else {
        return;
    };
    // Without buffers the packets wait in the tap, and the loop is at rest.
    for length in [60, 1514] {
        guest.host_sends(&frame(length));
    }
    guest.offer(0..2, 600);
    assert_eq!(guest.take(), None);
    guest.offer(2..3, 600);
    let (header, received) = guest.take().unwrap();
    assert_eq!(
        (header[0..NUM_BUFFERS].to_vec(), received),
        (vec![0; NUM_BUFFERS], frame(60))
    );
    assert_eq!(guest.taken, 1);
    assert!(guest.rig.interrupted());
    // The two buffers that were not needed are still there.
    guest.offer(3..4, 600);
    assert_eq!(guest.take().unwrap().1, frame(1514));
    assert_eq!(guest.taken, 4);
}

#[test]
fn without_merged_buffers_a_packet_has_one() {
    let memory = memory();
    let Some(mut guest) = Guest::new(&memory, NO_TSO | 1 << VIRTIO_NET_F_MRG_RXBUF) else {
        return;
    };
    guest.offer(0..4, 2000);
    guest.host_sends(&frame(1000));
    guest.host_sends(&frame(1514));
    assert_eq!(guest.take().unwrap().1, frame(1000));
    assert_eq!(guest.take().unwrap().1, frame(1514));
}

#[test]
fn malformed_chains_are_counted_and_come_back() {
    let memory = memory();
    let Some(mut guest) = Guest::new(&memory, NO_TSO) else {
        return;
    };
    let chains: [&[_]; 5] = [
        &[(BUFFERS, 25, 0)],
        &[(BUFFERS, 100, WRITE)],
        &[(MEMORY_SIZE - 10, 100, 0)],
        &[(BUFFERS, 100, 0), (BUFFERS, 0, 0)],
        &[(BUFFERS, 0x2_0000, 0)],
    ];
    for (count, chain) in (1..).zip(chains) {
        offer(&guest.queues[TX], 0, chain);
        guest.rig.kick(TX as u32);
        assert_eq!(used(&guest.queues[TX], count as u16 - 1), Some((0, 0)));
        assert_eq!(guest.metrics().malformed, count);
    }
    for chain in [
        [(RX_BUFFERS, 11, WRITE)],
        [(RX_BUFFERS, 4096, 0)],
        [(MEMORY_SIZE, 4096, WRITE)],
    ] {
        offer(&guest.queues[RX], 0, &chain);
    }
    guest.host_sends(&frame(60));
    guest.offer(1..4, 1024);
    assert_eq!(guest.metrics().malformed, 8);
    guest.taken = 3;
    assert_eq!(guest.take().unwrap().1, frame(60));
}

#[test]
fn a_saved_interface_goes_on() {
    let memory = memory();
    let Some(mut guest) = Guest::new(&memory, NO_TSO) else {
        return;
    };
    let state = guest.rig.transport.save();
    let (tap, packets) = match std::thread::spawn(host).join().unwrap() {
        Ok(host) => host,
        Err(error) => panic!("{error}"),
    };
    guest.packets = packets;
    guest.rig = Rig::restored(&memory, Net::new(tap, MAC).unwrap(), &state);
    guest.offer(0..4, 1024);
    guest.host_sends(&frame(1514));
    assert_eq!(guest.take().unwrap().1, frame(1514));
    assert_eq!(
        guest.rig.transport.save().driver_features,
        state.driver_features
    );
}

#[test]
fn what_is_not_a_tap_is_refused() {
    let file = tempfile::tempfile().unwrap();
    assert!(matches!(
        Net::new(file.into(), MAC),
        Err(TapError::HeaderSize(_))
    ));
}

/// A guest at a socket, with buffers for four packets, and the socket's other end.
fn at_socket(memory: &GuestMemoryMmap, without: u64) -> (Rig, [Queue<'_>; 2], UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let queues = [queue(memory, 0, 128), queue(memory, 1, 128)];
    let net = Net::on_socket(ours.into(), MAC).unwrap();
    assert_eq!(net.features() & OFFLOADS, 0);
    let mut rig = Rig::active(memory, net, &[&queues[RX], &queues[TX]], without);
    for at in 0..4 {
        let buffer = (RX_BUFFERS + u64::from(at) * 4096, 2000, WRITE);
        offer(&queues[RX], at, &[buffer]);
    }
    rig.kick(RX as u32);
    (rig, queues, theirs)
}

fn behind_length(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes(), frame].concat()
}

#[test]
fn frames_come_from_a_socket_behind_their_lengths() {
    let memory = memory();
    let (mut rig, queues, mut network) = at_socket(&memory, 0);
    let received = |rig: &Rig, at: u16| {
        let (head, length) = used(&queues[RX], at)?;
        let bytes = rig.bytes(RX_BUFFERS + u64::from(head) * 4096, length as usize);
        // It says nothing but that there is one buffer.
        assert_eq!(bytes[..HEADER_SIZE], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        Some(bytes[HEADER_SIZE..].to_vec())
    };
    // Cut where it is worst.
    let first = behind_length(&frame(1514));
    for piece in [&first[..2], &first[2..700], &first[700..]] {
        assert_eq!(received(&rig, 0), None);
        network.write_all(piece).unwrap();
        rig.turn();
    }
    assert_eq!(received(&rig, 0), Some(frame(1514)));
    // Two at once, of which the first waits for buffers.
    let long = behind_length(&frame(7000));
    let both = [long, behind_length(&frame(60))].concat();
    network.write_all(&both).unwrap();
    rig.turn();
    assert_eq!(used(&queues[RX], 1), None);
    for at in 4..8 {
        let buffer = (RX_BUFFERS + u64::from(at) * 4096, 2000, WRITE);
        offer(&queues[RX], at, &[buffer]);
    }
    rig.kick(RX as u32);
    let lengths = [1, 2, 3, 4].map(|at| used(&queues[RX], at).map(|(_, length)| length));
    assert_eq!(lengths, [2000, 2000, 2000, 1012].map(Some));
    assert_eq!(received(&rig, 5), Some(frame(60)));
    // One that fits no interface is read over while it comes.
    let huge = behind_length(&vec![0xff; 200_000]);
    for piece in huge.chunks(50_000) {
        network.write_all(piece).unwrap();
        rig.turn();
    }
    network.write_all(&behind_length(&frame(61))).unwrap();
    rig.turn();
    assert_eq!(received(&rig, 6), Some(frame(61)));
    // A link that is gone is no event without end.
    drop(network);
    rig.turn();
    assert_eq!(received(&rig, 7), None);
}

#[test]
fn a_frame_that_has_no_room_is_lost() {
    let memory = memory();
    let (mut rig, queues, mut network) = at_socket(&memory, 1 << VIRTIO_NET_F_MRG_RXBUF);
    for length in [3000, 60] {
        network.write_all(&behind_length(&frame(length))).unwrap();
    }
    rig.turn();
    assert_eq!(used(&queues[RX], 0), Some((0, 72)));
    let DeviceMetrics::Net(metrics) = rig.transport.metrics() else {
        panic!("metrics of a network interface");
    };
    assert_eq!((metrics.rx_packets, metrics.rx_failed), (1, 1));
}

#[test]
fn a_guest_reaches_no_loopback_over_a_socket() {
    let memory = memory();
    let (mut rig, queues, mut network) = at_socket(&memory, 0);
    let to = |address: [u8; 4]| {
        let mut frame = frame(60);
        frame[12..14].copy_from_slice(&0x0800_u16.to_be_bytes());
        frame[30..34].copy_from_slice(&address);
        frame
    };
    let mut count: u16 = 0;
    let mut send = |rig: &mut Rig, frame: &[u8]| {
        let at = count % 128;
        rig.put(BUFFERS, &[&[0xff; HEADER_SIZE], frame].concat());
        let length = (HEADER_SIZE + frame.len()) as u32;
        offer(&queues[TX], at, &[(BUFFERS, length, 0)]);
        rig.kick(TX as u32);
        assert_eq!(used(&queues[TX], count), Some((at.into(), 0)));
        count += 1;
    };
    let beyond = to([192, 0, 2, 1]);
    for frame in [
        &to([127, 0, 0, 1]),
        &to([0, 0, 0, 0]),
        &frame(1600),
        &beyond,
    ] {
        send(&mut rig, frame);
    }
    let mut sent = vec![0; 2000];
    let length = network.read(&mut sent).unwrap();
    assert_eq!(sent[..length], behind_length(&beyond));
    // What a full socket does not take waits until it does.
    rig.put(BUFFERS, &[&[0; HEADER_SIZE], &beyond[..]].concat());
    let length = (HEADER_SIZE + beyond.len()) as u32;
    let (first, mut offered, mut done) = (count, count, count);
    while done == offered {
        offer(&queues[TX], offered % 128, &[(BUFFERS, length, 0)]);
        rig.kick(TX as u32);
        offered += 1;
        while used(&queues[TX], done).is_some() {
            done += 1;
        }
    }
    for _ in 0..10 {
        offer(&queues[TX], offered % 128, &[(BUFFERS, length, 0)]);
        offered += 1;
    }
    let mut all = Vec::new();
    let _ = network.read_to_end(&mut all);
    rig.turn();
    assert!(used(&queues[TX], offered - 1).is_some());
    let _ = network.read_to_end(&mut all);
    let whole = behind_length(&beyond);
    assert!(all.chunks(whole.len()).all(|chunk| chunk == whole));
    assert_eq!(all.len() / whole.len(), usize::from(offered - first));
}
