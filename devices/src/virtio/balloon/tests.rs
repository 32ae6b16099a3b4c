//! Tests of the balloon.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_CONFIG, VIRTIO_MMIO_CONFIG_GENERATION};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, GuestRegionMmap};

use super::*;
use crate::virtio::testing::{
    BUFFERS, MEMORY_SIZE, NEXT, Queue, Rig, WRITE, memory, offer, queue, used,
};

const PAGE: u64 = PAGE_SIZE;
/// The pages that are given back and taken.
const DATA: u64 = 2 << 20;

struct Driven<'m> {
    rig: Rig,
    control: BalloonControl,
    queues: [Queue<'m>; 3],
    done: [u16; 3],
}

impl<'m> Driven<'m> {
    fn new(memory: &'m GuestMemoryMmap) -> Self {
        let balloon = Balloon::new().unwrap();
        let control = balloon.control();
        let queues = [0, 1, 2].map(|index| queue(memory, index, QUEUE_SIZES[index as usize]));
        let rig = Rig::active(memory, balloon, &[&queues[0], &queues[1], &queues[2]], 0);
        Self {
            rig,
            control,
            queues,
            done: [0; 3],
        }
    }

    /// Offers a chain, which has to come back with nothing written to it.
    fn chain(&mut self, queue: usize, chain: &[(u64, u32, u16)]) {
        offer(&self.queues[queue], 0, chain);
        self.rig.kick(queue as u32);
        let back = used(&self.queues[queue], self.done[queue]);
        assert_eq!(back, Some((0, 0)), "{chain:x?}");
        self.done[queue] += 1;
    }

    fn inflate(&mut self, pages: &[u32]) {
        let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        self.rig.put(BUFFERS, &bytes);
        self.chain(INFLATE, &[(BUFFERS, bytes.len() as u32, 0)]);
    }

    fn metrics(&self) -> BalloonMetrics {
        match self.rig.transport.metrics() {
            DeviceMetrics::Balloon(metrics) => metrics,
            other => panic!("{other:?}"),
        }
    }

    fn config(&mut self, offset: u32) -> u32 {
        self.rig.read(VIRTIO_MMIO_CONFIG + offset)
    }
}

/// Guest memory that is mapped from a file in which every byte is `fill`.
fn mapped(flags: i32, fill: u8) -> (GuestMemoryMmap, File) {
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.write_all_at(&vec![fill; MEMORY_SIZE as usize], 0)
        .unwrap();
    let region = MmapRegionBuilder::new(MEMORY_SIZE as usize)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(flags | libc::MAP_NORESERVE)
        .with_file_offset(FileOffset::new(file.try_clone().unwrap(), 0))
        .build()
        .unwrap();
    let region = GuestRegionMmap::new(region, GuestAddress(0)).unwrap();
    (GuestMemoryMmap::from_regions(vec![region]).unwrap(), file)
}

fn pfn(address: u64) -> u32 {
    (address / PAGE) as u32
}

#[test]
fn the_driver_learns_of_another_size_and_tells_what_it_has() {
    let memory = memory();
    let mut balloon = Driven::new(&memory);
    assert_eq!(balloon.config(0), 0);
    balloon.rig.interrupted();
    let generation = balloon.rig.read(VIRTIO_MMIO_CONFIG_GENERATION);
    balloon.control.set_target(300);
    balloon.rig.turn();
    assert!(balloon.rig.interrupted());
    assert_ne!(balloon.rig.read(VIRTIO_MMIO_CONFIG_GENERATION), generation);
    assert_eq!(balloon.config(0), 300);
    balloon.rig.write(VIRTIO_MMIO_CONFIG + 4, 17);
    assert_eq!((balloon.config(4), balloon.control.actual()), (17, 17));
    // What the host asks for is not the driver's to write.
    balloon.rig.write(VIRTIO_MMIO_CONFIG, 5);
    balloon
        .rig
        .transport
        .write(u64::from(VIRTIO_MMIO_CONFIG) + 6, &[1; 4]);
    balloon
        .rig
        .transport
        .write(u64::from(VIRTIO_MMIO_CONFIG) + 4, &[1; 2]);
    balloon.rig.write(VIRTIO_MMIO_CONFIG + 8, 5);
    assert_eq!((balloon.config(0), balloon.config(4)), (300, 17));
    assert_eq!(balloon.config(8), 0);
}

#[test]
fn a_size_that_is_set_before_the_driver_is_there_is_read_by_it() {
    let memory = memory();
    let balloon = Balloon::new().unwrap();
    balloon.control().set_target(7);
    let queues = [0, 1, 2].map(|index| queue(&memory, index, 16));
    let mut rig = Rig::active(&memory, balloon, &[&queues[0], &queues[1], &queues[2]], 0);
    assert_eq!(rig.read(VIRTIO_MMIO_CONFIG), 7);
}

#[test]
fn what_is_put_into_the_balloon_leaves_the_file_of_shared_memory() {
    let (memory, file) = mapped(libc::MAP_SHARED, 0xaa);
    let before = file.metadata().unwrap().blocks();
    let mut balloon = Driven::new(&memory);
    let first = pfn(DATA);
    balloon.inflate(&[first + 2, first, first + 1, first + 9, first]);
    assert_eq!(balloon.metrics().inflated, 4 * PAGE);
    assert_eq!(balloon.metrics().refused, 0);
    assert_eq!(file.metadata().unwrap().blocks(), before - 4 * PAGE / 512);
    assert_eq!(
        balloon.rig.bytes(DATA, 3 * PAGE as usize),
        vec![0; 3 * PAGE as usize]
    );
    assert_eq!(balloon.rig.bytes(DATA + 9 * PAGE, 1), [0]);
    for kept in [
        DATA - 1,
        DATA + 3 * PAGE,
        DATA + 9 * PAGE - 1,
        DATA + 10 * PAGE,
    ] {
        assert_eq!(balloon.rig.bytes(kept, 1), [0xaa], "{kept:#x}");
    }
    // The pages come back when they are used.
    balloon.chain(DEFLATE, &[(BUFFERS, 16, 0)]);
    balloon.rig.put(DATA, b"again");
    assert_eq!(balloon.rig.bytes(DATA, 5), b"again");
}

#[test]
fn free_blocks_of_shared_memory_are_given_back() {
    let (memory, file) = mapped(libc::MAP_SHARED, 0xaa);
    let before = file.metadata().unwrap().blocks();
    let mut balloon = Driven::new(&memory);
    let block = 64 * PAGE;
    balloon.chain(
        REPORT,
        &[
            (DATA, block as u32, WRITE),
            (DATA + 2 * block, block as u32, WRITE),
        ],
    );
    assert_eq!(balloon.metrics().reported, 2 * block);
    assert_eq!(file.metadata().unwrap().blocks(), before - 2 * block / 512);
    assert_eq!(balloon.rig.bytes(DATA + block - 1, 2), [0, 0xaa]);
    assert!(balloon.rig.interrupted());
}

#[test]
fn the_file_of_private_memory_is_not_touched_and_its_content_is_read_again() {
    let (memory, file) = mapped(libc::MAP_PRIVATE, 0xaa);
    let before = file.metadata().unwrap().blocks();
    let mut balloon = Driven::new(&memory);
    balloon.rig.put(DATA, &[0xbb; 4 * PAGE as usize]);
    balloon.inflate(&[pfn(DATA)]);
    balloon.chain(REPORT, &[(DATA + PAGE, PAGE as u32, WRITE)]);
    assert_eq!(
        (balloon.metrics().inflated, balloon.metrics().reported),
        (PAGE, PAGE)
    );
    assert_eq!(balloon.rig.bytes(DATA + 2 * PAGE - 1, 2), [0xaa, 0xbb]);
    assert_eq!(file.metadata().unwrap().blocks(), before);
    let mut byte = [0];
    file.read_exact_at(&mut byte, DATA).unwrap();
    assert_eq!(byte, [0xaa]);
}

#[test]
fn only_whole_pages_are_given_back() {
    let (memory, _file) = mapped(libc::MAP_SHARED, 0xaa);
    let mut balloon = Driven::new(&memory);
    for (address, length) in [
        (DATA + 1, PAGE),
        (DATA, PAGE - 1),
        (DATA + 512, 512),
        (DATA + 1, 2 * PAGE - 2),
    ] {
        balloon.chain(REPORT, &[(address, length as u32, WRITE)]);
    }
    assert_eq!(balloon.metrics(), BalloonMetrics::default());
    balloon.chain(REPORT, &[(DATA + 512, 2 * PAGE as u32, WRITE)]);
    assert_eq!(balloon.metrics().reported, PAGE);
    assert_eq!(balloon.rig.bytes(DATA + PAGE - 1, 2), [0xaa, 0]);
}

#[test]
fn pages_that_are_no_memory_are_refused_and_the_others_given_back() {
    let gap = GuestMemoryMmap::from_ranges(&[
        (GuestAddress(0), MEMORY_SIZE as usize),
        (GuestAddress(2 * MEMORY_SIZE), 1 << 20),
    ])
    .unwrap();
    let mut balloon = Driven::new(&gap);
    let last = pfn(MEMORY_SIZE) - 1;
    balloon.inflate(&[
        last,
        last + 1,
        last + 2,
        pfn(2 * MEMORY_SIZE),
        u32::MAX,
        0xd0000,
    ]);
    assert_eq!(
        (balloon.metrics().refused, balloon.metrics().inflated),
        (4, 2 * PAGE)
    );
    assert_eq!(balloon.metrics().failed, 0);
    // A range that reaches beyond memory is dropped as a whole, and with it its chain.
    for range in [
        (MEMORY_SIZE - PAGE, 2 * PAGE as u32),
        (MEMORY_SIZE, PAGE as u32),
        (0xd000_0000, PAGE as u32),
        (u64::MAX - 4095, PAGE as u32),
    ] {
        balloon.chain(REPORT, &[(range.0, range.1, WRITE)]);
    }
    assert_eq!(
        (balloon.metrics().malformed, balloon.metrics().reported),
        (4, 0)
    );
}

#[test]
fn chains_in_the_wrong_direction_or_too_long_are_counted() {
    let memory = memory();
    let mut balloon = Driven::new(&memory);
    balloon.rig.put(DATA, b"kept");
    balloon.chain(INFLATE, &[(DATA, 4096, WRITE)]);
    balloon.chain(INFLATE, &[(BUFFERS, 4, 0), (DATA, 4, WRITE)]);
    balloon.chain(DEFLATE, &[(DATA, 4096, WRITE)]);
    balloon.chain(REPORT, &[(DATA, 4096, 0)]);
    balloon.chain(REPORT, &[(DATA, 4096, NEXT | WRITE)]);
    assert_eq!(balloon.metrics().malformed, 5);
    assert_eq!(balloon.rig.bytes(DATA, 4), b"kept");
    // Half a page number, and more of them than are taken at once: all of memory many times over.
    balloon.rig.put(BUFFERS, &[0; 3]);
    balloon.chain(INFLATE, &[(BUFFERS, 3, 0)]);
    assert_eq!(balloon.metrics().inflated, 0);
    let many = 2 * MAX_PAGES as u32;
    let bytes: Vec<u8> = (0..many).flat_map(|_| pfn(DATA).to_le_bytes()).collect();
    balloon.rig.put(BUFFERS, &bytes);
    balloon.chain(INFLATE, &[(BUFFERS, 4 * many, 0)]);
    assert_eq!(balloon.metrics().refused, MAX_PAGES as u64);
    assert_eq!(balloon.metrics().inflated, PAGE);
}

#[test]
fn a_restored_balloon_has_its_size_and_goes_on() {
    let memory = memory();
    let mut balloon = Driven::new(&memory);
    balloon.control.set_target(40);
    balloon.rig.turn();
    balloon.rig.write(VIRTIO_MMIO_CONFIG + 4, 30);
    let state = balloon.rig.transport.save();

    let device = Balloon::new().unwrap();
    let control = device.control();
    let rig = Rig::restored(&memory, device, &state);
    let mut restored = Driven {
        rig,
        control,
        ..balloon
    };
    assert_eq!(restored.rig.transport.save(), state);
    assert_eq!((restored.config(0), restored.config(4)), (40, 30));
    restored.rig.interrupted();
    restored.control.set_target(50);
    restored.rig.turn();
    assert!(restored.rig.interrupted());
    assert_eq!((restored.config(0), restored.control.actual()), (50, 30));
    restored.inflate(&[pfn(DATA)]);
    assert_eq!(restored.metrics().inflated, PAGE);
}

#[test]
fn a_driver_that_resets_the_balloon_can_begin_anew() {
    let memory = memory();
    let mut balloon = Driven::new(&memory);
    balloon
        .rig
        .write(virtio_bindings::virtio_mmio::VIRTIO_MMIO_STATUS, 0);
    balloon.rig.turn();
    balloon.control.set_target(3);
    balloon.rig.turn();
    let queues = [0, 1, 2].map(|index| queue(&memory, index, 16));
    let features = COMMON_FEATURES | DEFLATE_ON_OOM;
    balloon
        .rig
        .set_up(&[&queues[0], &queues[1], &queues[2]], features);
    balloon.rig.turn();
    assert!(balloon.rig.interrupted());
    assert_eq!(balloon.config(0), 3);
}
