//! Nobody is sent more than it can take.

use super::*;

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
    assert!(guest.rig.transport.undelivered() > 0);
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
    assert_eq!(guest.rig.transport.undelivered(), 0);
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
fn a_buffer_that_was_not_needed_takes_the_next_packet() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1000, 52);
    guest.offer(2);
    for data in [b"a", b"b"] {
        host.write_all(data).unwrap();
        guest.rig.turn();
        assert_eq!(guest.take().expect("a buffer is left").1, data);
    }
}
