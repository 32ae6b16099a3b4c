//! Connections come, go and are half-closed.

use super::*;

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
fn after_a_restore_with_another_context_id_the_guest_is_told_that_its_connections_are_gone() {
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
fn a_restored_device_goes_on_with_the_guests_connections_and_resets_the_hosts() {
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1000, 52);
    host.write_all(b"before").unwrap();
    guest.rig.turn();
    assert_eq!(guest.receive().1, b"before");
    let _other = guest.dial(1024);
    let (request, _) = guest.receive();
    guest.send(1024, request.src_port, op::RESPONSE, &[]);
    let state = guest.rig.transport.save();

    let (near, far) = broker();
    guest.rig = Rig::restored(&memory, Vsock::new(CID, near).unwrap(), &state);
    guest.broker = far;
    let mut host = guest.accept(52).expect("the connection, given anew");
    let (reset, _) = guest.receive();
    assert_eq!(
        (reset.op, reset.src_port, reset.dst_port),
        (op::RST, request.src_port, 1024)
    );
    host.write_all(b"after").unwrap();
    guest.rig.turn();
    let (header, data) = guest.receive();
    assert_eq!(
        (header.dst_port, header.op, &data[..]),
        (1000, op::RW, &b"after"[..])
    );
    guest.send(1000, 52, op::RW, b"answer");
    assert_eq!(read_all(&mut host), b"answer");
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

#[test]
fn there_is_a_limit_to_connections() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let memory = memory();
    let mut guest = Guest::new(&memory);
    let mut hosts: Vec<_> = (0..MAX_CONNECTIONS).map(|_| guest.dial(1)).collect();
    assert_eq!(guest.metrics().refused, 0);
    let mut refused = guest.dial(1);
    assert_eq!(read_all(&mut refused), b"");
    guest.send(1000, 52, op::REQUEST, &[]);
    assert_eq!(guest.metrics().refused, 2);
    assert!(
        hosts.iter_mut().all(|host| host.read(&mut [0]).is_err()),
        "the others stay"
    );
}
