//! What a guest gets for packets and chains that make no sense.

use proptest::prelude::*;

use super::*;

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
