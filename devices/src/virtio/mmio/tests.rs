//! Tests of the register file: the driver's handshake, in and out of order.

use proptest::prelude::*;

use super::*;
use crate::event_loop::EventLoop;
use crate::virtio::COMMON_FEATURES;
use crate::virtio::rng::Rng;
use crate::virtio::testing::{BUFFERS, MEMORY_SIZE, Rig, WRITE, memory, offer, queue, used};

fn rng(memory: &GuestMemoryMmap) -> Rig {
    Rig::new(memory, Rng::new())
}

#[test]
fn the_driver_finds_a_modern_device() {
    let memory = memory();
    let mut rig = rng(&memory);
    assert_eq!(rig.read(VIRTIO_MMIO_MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!(rig.read(VIRTIO_MMIO_VERSION), 2);
    assert_eq!(rig.read(VIRTIO_MMIO_DEVICE_ID), 4);
    let mut features = 0;
    for half in 0..2 {
        rig.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
        features |= u64::from(rig.read(VIRTIO_MMIO_DEVICE_FEATURES)) << (32 * half);
    }
    assert_eq!(features, COMMON_FEATURES);
    rig.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    assert_eq!(rig.read(VIRTIO_MMIO_DEVICE_FEATURES), 0);
    assert_eq!(rig.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 8);
    rig.write(VIRTIO_MMIO_QUEUE_SEL, 1);
    assert_eq!(rig.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    rig.write(VIRTIO_MMIO_SHM_SEL, 0);
    assert_eq!(rig.read(VIRTIO_MMIO_SHM_LEN_LOW), u32::MAX);
    assert_eq!(rig.read(VIRTIO_MMIO_SHM_BASE_HIGH), u32::MAX);
    assert_eq!(rig.transport.ignored_accesses(), 0);
}

#[test]
fn steps_out_of_order_are_ignored_and_counted() {
    let memory = memory();
    let mut rig = rng(&memory);
    let mut ignored = 0;
    let mut refused = |rig: &mut Rig, register, value| {
        rig.write(register, value);
        ignored += 1;
        assert_eq!(
            rig.transport.ignored_accesses(),
            ignored,
            "{register:#x} <- {value:#x}"
        );
    };
    refused(&mut rig, VIRTIO_MMIO_STATUS, 15);
    refused(&mut rig, VIRTIO_MMIO_DRIVER_FEATURES, 1);
    refused(&mut rig, VIRTIO_MMIO_QUEUE_NUM, 8);
    refused(&mut rig, QUEUE_NOTIFY as u32, 0);
    rig.write(VIRTIO_MMIO_STATUS, 1);
    refused(&mut rig, VIRTIO_MMIO_STATUS, 2);
    rig.write(VIRTIO_MMIO_STATUS, 3);
    // Without the feature VERSION_1, and with one that the device doesn't have.
    refused(&mut rig, VIRTIO_MMIO_STATUS, 11);
    rig.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    rig.write(VIRTIO_MMIO_DRIVER_FEATURES, 1);
    rig.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    rig.write(VIRTIO_MMIO_DRIVER_FEATURES, 1);
    refused(&mut rig, VIRTIO_MMIO_STATUS, 11);
    assert_eq!(rig.read(VIRTIO_MMIO_STATUS), 3);
    rig.write(VIRTIO_MMIO_DRIVER_FEATURES, 0);
    rig.write(VIRTIO_MMIO_STATUS, 11);
    assert_eq!(rig.read(VIRTIO_MMIO_STATUS), 11);
    refused(&mut rig, VIRTIO_MMIO_DRIVER_FEATURES, 0);
    for size in [0, 3, 16, 0x1_0008] {
        refused(&mut rig, VIRTIO_MMIO_QUEUE_NUM, size);
    }
    rig.write(VIRTIO_MMIO_QUEUE_READY, 1);
    refused(&mut rig, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
    refused(&mut rig, 0xf0, 1);
    rig.write(VIRTIO_MMIO_STATUS, 0);
    assert_eq!(
        (
            rig.read(VIRTIO_MMIO_STATUS),
            rig.read(VIRTIO_MMIO_QUEUE_READY)
        ),
        (0, 0)
    );
}

#[test]
fn a_queue_outside_of_memory_needs_a_reset() {
    let memory = memory();
    let mut rig = rng(&memory);
    for (register, value) in [
        (VIRTIO_MMIO_STATUS, 1),
        (VIRTIO_MMIO_STATUS, 3),
        (VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1),
        (VIRTIO_MMIO_DRIVER_FEATURES, 1),
        (VIRTIO_MMIO_STATUS, 11),
        (VIRTIO_MMIO_QUEUE_DESC_LOW, MEMORY_SIZE as u32 - 16),
        (VIRTIO_MMIO_QUEUE_READY, 1),
        (VIRTIO_MMIO_STATUS, 15),
    ] {
        rig.write(register, value);
    }
    assert_eq!(rig.read(VIRTIO_MMIO_STATUS), 15 | NEEDS_RESET);
    assert!(rig.interrupted());
    assert_eq!(
        rig.read(VIRTIO_MMIO_INTERRUPT_STATUS),
        VIRTIO_MMIO_INT_CONFIG
    );
    rig.write(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
    assert_eq!(rig.read(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    rig.turn();
    rig.write(VIRTIO_MMIO_STATUS, 0);
    let queue = queue(&memory, 0, 8);
    rig.set_up(&[&queue], COMMON_FEATURES);
    rig.turn();
}

#[test]
fn entropy_comes_before_and_after_a_reset() {
    let memory = memory();
    let first = queue(&memory, 0, 8);
    let mut rig = Rig::active(&memory, Rng::new(), &[&first], 0);
    offer(&first, 0, &[(BUFFERS, 64, WRITE)]);
    rig.kick(0);
    assert_eq!(used(&first, 0), Some((0, 64)));
    assert_ne!(rig.bytes(BUFFERS, 64), [0; 64]);
    assert!(rig.interrupted());
    // EVENT_IDX: the driver has not asked to hear of the second.
    offer(&first, 1, &[(BUFFERS, 64, WRITE)]);
    rig.kick(0);
    assert_eq!(used(&first, 1), Some((1, 64)));
    assert!(!rig.interrupted());
    // The device has asked to hear of the third.
    assert_eq!(rig.bytes(0x10000 + 0x8000 + 4 + 8 * 8, 2), [2, 0]);
    // Malformed: nothing to write to; more than the device gives at once.
    offer(&first, 2, &[(BUFFERS, 64, 0)]);
    offer(&first, 3, &[(BUFFERS, 1 << 20, WRITE)]);
    rig.kick(0);
    assert_eq!(
        (used(&first, 2), used(&first, 3)),
        (Some((2, 0)), Some((3, 4096)))
    );

    rig.write(VIRTIO_MMIO_STATUS, 0);
    // The new driver comes before the device thread has seen the reset.
    let second = queue(&memory, 1, 4);
    offer(&second, 0, &[(BUFFERS, 8, WRITE)]);
    rig.set_up(&[&second], COMMON_FEATURES);
    rig.turn();
    assert_eq!(used(&second, 0), Some((0, 8)));
}

#[test]
fn a_ring_that_makes_no_sense_stops_only_its_device() {
    let memory = memory();
    let queue = queue(&memory, 0, 8);
    let mut rig = Rig::active(&memory, Rng::new(), &[&queue], 0);
    // 1,000 chains in a queue of 8.
    rig.put(0x10000 + 0x4000 + 2, &1000u16.to_le_bytes());
    rig.kick(0);
    assert_eq!(used(&queue, 0), None);
    assert!(rig.transport.queue_errors() > 0);
}

#[test]
fn a_saved_transport_is_the_same_again() {
    let memory = memory();
    // In the middle of the handshake.
    let mut rig = rng(&memory);
    for (register, value) in [
        (VIRTIO_MMIO_STATUS, 1),
        (VIRTIO_MMIO_STATUS, 3),
        (VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1),
        (VIRTIO_MMIO_DRIVER_FEATURES, 1),
        (VIRTIO_MMIO_STATUS, 11),
        (VIRTIO_MMIO_QUEUE_NUM, 4),
        (VIRTIO_MMIO_QUEUE_USED_HIGH, 7),
    ] {
        rig.write(register, value);
    }
    let state = rig.transport.save();
    assert_eq!(
        Rig::restored(&memory, Rng::new(), &state).transport.save(),
        state
    );

    // In use, with an interrupt that the driver has not seen.
    let queue = queue(&memory, 0, 8);
    let mut rig = Rig::active(&memory, Rng::new(), &[&queue], 0);
    offer(&queue, 0, &[(BUFFERS, 64, WRITE)]);
    rig.kick(0);
    let state = rig.transport.save();
    let mut restored = Rig::restored(&memory, Rng::new(), &state);
    assert_eq!(restored.transport.save(), state);
    assert!(restored.interrupted());
    offer(&queue, 1, &[(BUFFERS, 16, WRITE)]);
    restored.kick(0);
    assert_eq!(used(&queue, 1), Some((1, 16)));

    let mut wrong = state.clone();
    wrong.queues[0].size = 3;
    assert!(matches!(
        rng(&memory).transport.restore(&wrong),
        Err(StateError::Queue(0, _))
    ));
    let mut wrong = state.clone();
    wrong.queues[0].desc_table = MEMORY_SIZE;
    assert!(matches!(
        rng(&memory).transport.restore(&wrong),
        Err(StateError::QueueMemory(0))
    ));
    let mut wrong = state;
    wrong.queues.clear();
    assert!(matches!(
        rng(&memory).transport.restore(&wrong),
        Err(StateError::QueueCount { .. })
    ));
}

#[test]
fn the_device_thread_works_pauses_and_stops() {
    let memory = memory();
    let queue = queue(&memory, 0, 8);
    let mut rig = rng(&memory);
    let devices = EventLoop::spawn("devices", vec![]).unwrap();
    devices.add(rig.transport.subscriber()).unwrap();
    let paused = devices.pause().unwrap();
    offer(&queue, 0, &[(BUFFERS, 8, WRITE)]);
    rig.set_up(&[&queue], COMMON_FEATURES);
    rig.transport.queue_events()[0].write(1).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(used(&queue, 0), None);
    drop(paused);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while used(&queue, 0).is_none() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    drop(devices.pause().unwrap());
    devices.stop();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_access_upsets_the_registers(
        accesses in proptest::collection::vec((any::<bool>(), 0u64..0x50, any::<u32>(), 0usize..9, 0u32..20), 1..200),
    ) {
        let memory = memory();
        let mut rig = rng(&memory);
        for (write, register, value, width, small) in accesses {
            // Mostly whole registers and small values, so that something comes of it.
            let offset = if width > 4 { register * 4 + 1 } else { register * 4 };
            let value = if value % 3 == 0 { value } else { small };
            let mut bytes = [value.to_le_bytes(), [0; 4]].concat();
            let width = if width < 5 { 4 } else { width };
            match write {
                true => rig.transport.write(offset, &bytes[..width]),
                false => rig.transport.read(offset, &mut bytes[..width]),
            }
            rig.turn();
        }
        let state = rig.transport.save();
        let restored = MmioTransport::new(memory.clone(), Box::new(Rng::new())).unwrap().restore(&state);
        prop_assert!(restored.is_ok() || state.needs_reset, "{:?}", restored);
    }
}
