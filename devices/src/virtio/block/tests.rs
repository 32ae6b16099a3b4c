//! Tests of the disk.

use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};

use proptest::prelude::*;
use vm_memory::GuestMemoryMmap;

use super::*;
use crate::virtio::testing::{
    BUFFERS, MEMORY_SIZE, NEXT, Queue, Rig, WRITE, memory, offer, queue, used,
};

const SECTORS: u64 = 64;
const HEADER: u64 = BUFFERS;
const DATA: u64 = BUFFERS + 0x1000;
const STATUS: u64 = BUFFERS + 0x8_0000;

fn disk_file() -> File {
    let mut file = tempfile::tempfile().unwrap();
    let bytes: Vec<u8> = (0..SECTORS * SECTOR_SIZE)
        .map(|at| (at / SECTOR_SIZE) as u8 + 1)
        .collect();
    file.write_all(&bytes).unwrap();
    file
}

struct Disk<'m> {
    rig: Rig,
    queue: Queue<'m>,
    file: File,
    done: u16,
}

impl<'m> Disk<'m> {
    fn new(memory: &'m GuestMemoryMmap, read_only: bool) -> Self {
        let file = disk_file();
        let block = Block::new(file.try_clone().unwrap(), read_only, None, "disk-0").unwrap();
        let queue = queue(memory, 0, 16);
        let rig = Rig::active(memory, block, &[&queue], 0);
        Self {
            rig,
            queue,
            file,
            done: 0,
        }
    }

    fn header(&self, kind: u32, sector: u64) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.rig.put(HEADER, &header);
    }

    /// Offers a chain and returns the length with which it came back.
    fn chain(&mut self, chain: &[(u64, u32, u16)]) -> u32 {
        offer(&self.queue, 0, chain);
        self.rig.kick(0);
        let (head, length) = used(&self.queue, self.done).expect("the chain comes back");
        assert_eq!(head, 0);
        self.done += 1;
        length
    }

    /// Carries out a request and returns its status.
    fn request(&mut self, kind: u32, sector: u64, data: &[(u64, u32, u16)]) -> u32 {
        self.header(kind, sector);
        self.rig.put(STATUS, &[0xff]);
        let chain = [&[(HEADER, 16, 0)], data, &[(STATUS, 1, WRITE)]].concat();
        assert!(self.chain(&chain) >= 1);
        self.rig.bytes(STATUS, 1)[0].into()
    }

    fn metrics(&self) -> BlockMetrics {
        match self.rig.transport.metrics() {
            DeviceMetrics::Block(metrics) => metrics,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn reads_and_writes_in_several_segments() {
    let memory = memory();
    let mut disk = Disk::new(&memory, false);
    let segments = [(DATA, 512, WRITE), (DATA + 0x3000, 1024, WRITE)];
    assert_eq!(disk.request(VIRTIO_BLK_T_IN, 3, &segments), VIRTIO_BLK_S_OK);
    assert_eq!(disk.rig.bytes(DATA, 512), [4; 512]);
    assert_eq!(disk.rig.bytes(DATA + 0x3000, 512), [5; 512]);
    assert_eq!(disk.rig.bytes(DATA + 0x3200, 512), [6; 512]);
    assert!(disk.rig.interrupted());

    disk.rig.put(DATA, &[0xaa; 512]);
    disk.rig.put(DATA + 0x3000, &[0xbb; 512]);
    let segments = [(DATA, 512, 0), (DATA + 0x3000, 512, 0)];
    assert_eq!(
        disk.request(VIRTIO_BLK_T_OUT, SECTORS - 2, &segments),
        VIRTIO_BLK_S_OK
    );
    let mut end = [0; 1024];
    disk.file
        .read_exact_at(&mut end, (SECTORS - 2) * SECTOR_SIZE)
        .unwrap();
    assert_eq!(end[..512], [0xaa; 512]);
    assert_eq!(end[512..], [0xbb; 512]);
    assert_eq!(disk.request(VIRTIO_BLK_T_FLUSH, 0, &[]), VIRTIO_BLK_S_OK);
    assert_eq!(
        (disk.metrics().read_bytes, disk.metrics().written_bytes),
        (1536, 1024)
    );
}

#[test]
fn what_is_not_on_the_disk_is_an_error() {
    let memory = memory();
    let mut disk = Disk::new(&memory, false);
    for (sector, length) in [
        (SECTORS, 512),
        (SECTORS - 1, 1024),
        (u64::MAX, 512),
        (u64::MAX / 512, 512),
        (0, 511),
    ] {
        for (kind, flags) in [(VIRTIO_BLK_T_IN, WRITE), (VIRTIO_BLK_T_OUT, 0)] {
            let status = disk.request(kind, sector, &[(DATA, length, flags)]);
            assert_eq!(status, VIRTIO_BLK_S_IOERR, "{length} bytes at {sector}");
        }
    }
    assert_eq!(disk.metrics().failed, 10);
    assert_eq!(disk.request(77, 0, &[]), VIRTIO_BLK_S_UNSUPP);
}

#[test]
fn a_read_only_disk_is_not_written() {
    let memory = memory();
    let mut disk = Disk::new(&memory, true);
    let range = [&0u64.to_le_bytes()[..], &8u32.to_le_bytes(), &[0; 4]].concat();
    disk.rig.put(DATA, &range);
    assert_eq!(
        disk.request(VIRTIO_BLK_T_OUT, 0, &[(DATA, 512, 0)]),
        VIRTIO_BLK_S_IOERR
    );
    assert_eq!(
        disk.request(VIRTIO_BLK_T_DISCARD, 0, &[(DATA, 16, 0)]),
        VIRTIO_BLK_S_IOERR
    );
    assert_eq!(
        disk.request(VIRTIO_BLK_T_WRITE_ZEROES, 0, &[(DATA, 16, 0)]),
        VIRTIO_BLK_S_IOERR
    );
    let mut start = [0; 512];
    disk.file.read_exact_at(&mut start, 0).unwrap();
    assert_eq!(start, [1; 512]);
}

#[test]
fn a_file_opened_for_reading_is_no_writable_disk() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let open = || File::open(file.path()).unwrap();
    assert!(matches!(
        Block::new(open(), false, None, ""),
        Err(DiskError::ReadOnlyFile)
    ));
    assert!(Block::new(open(), true, None, "").is_ok());
}

#[test]
fn discards_and_writes_zeroes() {
    let memory = memory();
    let mut disk = Disk::new(&memory, false);
    let range = |sector: u64, sectors: u32, flags: u32| {
        [
            &sector.to_le_bytes()[..],
            &sectors.to_le_bytes(),
            &flags.to_le_bytes(),
        ]
        .concat()
    };
    let blocks = disk.file.metadata().unwrap().blocks();
    disk.rig
        .put(DATA, &[range(0, 8, 0), range(16, 16, 0)].concat());
    assert_eq!(
        disk.request(VIRTIO_BLK_T_DISCARD, 0, &[(DATA, 32, 0)]),
        VIRTIO_BLK_S_OK
    );
    assert_eq!(disk.file.metadata().unwrap().blocks(), blocks - 24);
    for flags in [0, 1] {
        disk.rig.put(DATA, &range(40 + u64::from(flags), 1, flags));
        assert_eq!(
            disk.request(VIRTIO_BLK_T_WRITE_ZEROES, 0, &[(DATA, 16, 0)]),
            VIRTIO_BLK_S_OK
        );
    }
    let mut bytes = vec![0; (SECTORS * SECTOR_SIZE) as usize];
    disk.file.read_exact_at(&mut bytes, 0).unwrap();
    for (sector, content) in bytes.chunks(512).enumerate() {
        let zero = sector < 8 || (16..32).contains(&sector) || sector == 40 || sector == 41;
        assert_eq!(
            content[511],
            if zero { 0 } else { sector as u8 + 1 },
            "sector {sector}"
        );
    }
    for bad in [
        range(SECTORS, 1, 0),
        range(0, u32::MAX, 0),
        range(u64::MAX, 1, 0),
    ] {
        disk.rig.put(DATA, &bad);
        assert_eq!(
            disk.request(VIRTIO_BLK_T_DISCARD, 0, &[(DATA, 16, 0)]),
            VIRTIO_BLK_S_IOERR
        );
    }
    assert_eq!(
        disk.request(VIRTIO_BLK_T_DISCARD, 0, &[(DATA, 15, 0)]),
        VIRTIO_BLK_S_IOERR
    );
    disk.rig.put(DATA, &range(0, 1, 1));
    assert_eq!(
        disk.request(VIRTIO_BLK_T_DISCARD, 0, &[(DATA, 16, 0)]),
        VIRTIO_BLK_S_UNSUPP
    );
}

#[test]
fn the_driver_reads_the_serial_number_and_the_size() {
    let memory = memory();
    let mut disk = Disk::new(&memory, false);
    assert_eq!(
        disk.request(VIRTIO_BLK_T_GET_ID, 0, &[(DATA, 20, WRITE)]),
        VIRTIO_BLK_S_OK
    );
    assert_eq!(
        disk.rig.bytes(DATA, 20),
        *b"disk-0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
    let mut capacity = [0; 8];
    disk.rig.transport.read(0x100, &mut capacity);
    assert_eq!(u64::from_le_bytes(capacity), SECTORS);
    let mut beyond = [1; 8];
    disk.rig
        .transport
        .read(0x100 + CONFIG_SIZE as u64, &mut beyond);
    assert_eq!(beyond, [0; 8]);
}

#[test]
fn malformed_chains_are_counted_and_come_back() {
    let memory = memory();
    let mut disk = Disk::new(&memory, false);
    disk.header(VIRTIO_BLK_T_IN, 0);
    let chains: [&[_]; 8] = [
        // No status, header too short, nothing to read, nothing to write.
        &[(HEADER, 16, 0)],
        &[(HEADER, 15, 0), (STATUS, 1, WRITE)],
        &[(HEADER, 16, WRITE), (STATUS, 1, WRITE)],
        &[(HEADER, 16, 0), (DATA, 512, 0)],
        // A length of zero, memory that isn't there, a length beyond everything.
        &[(HEADER, 16, 0), (DATA, 0, WRITE), (STATUS, 1, WRITE)],
        &[
            (HEADER, 16, 0),
            (MEMORY_SIZE, 512, WRITE),
            (STATUS, 1, WRITE),
        ],
        &[(HEADER, 16, 0), (DATA, u32::MAX, WRITE), (STATUS, 1, WRITE)],
        // The wrong order.
        &[
            (HEADER, 16, 0),
            (DATA, 512, WRITE),
            (DATA, 512, 0),
            (STATUS, 1, WRITE),
        ],
    ];
    for (count, chain) in (1..).zip(chains) {
        assert_eq!(disk.chain(chain), 0);
        assert_eq!(disk.metrics().malformed, count, "{chain:x?}");
    }
    // A request whose data never ends: the second descriptor is its own successor.
    offer(&disk.queue, 1, &[(HEADER, 16, 0), (DATA, 512, WRITE)]);
    let endless = virtio_queue::desc::split::Descriptor::new(DATA, 512, WRITE | NEXT, 2);
    disk.queue.table.store(2, endless.into()).unwrap();
    disk.rig.kick(0);
    assert_eq!(disk.metrics().malformed, 9);
    disk.done += 1;

    assert_eq!(
        disk.request(VIRTIO_BLK_T_IN, 0, &[(DATA, 512, WRITE)]),
        VIRTIO_BLK_S_OK
    );
}

#[test]
fn a_saved_disk_goes_on() {
    let memory = memory();
    let mut disk = Disk::new(&memory, false);
    assert_eq!(
        disk.request(VIRTIO_BLK_T_IN, 0, &[(DATA, 512, WRITE)]),
        VIRTIO_BLK_S_OK
    );
    let state = disk.rig.transport.save();
    // A request that the device has not seen when it is saved.
    disk.header(VIRTIO_BLK_T_IN, 9);
    offer(
        &disk.queue,
        0,
        &[(HEADER, 16, 0), (DATA, 512, WRITE), (STATUS, 1, WRITE)],
    );

    let block = Block::new(disk.file.try_clone().unwrap(), false, None, "").unwrap();
    let rig = Rig::restored(&memory, block, &state);
    assert_eq!(used(&disk.queue, 1), Some((0, 513)));
    assert_eq!(rig.bytes(DATA, 512), [10; 512]);
    let mut later = rig.transport.save();
    assert_eq!(
        (later.queues[0].next_avail, later.queues[0].next_used),
        (2, 2)
    );

    later.device = DeviceState::Rng(Default::default());
    let fresh = |file| Box::new(Block::new(file, false, None, "").unwrap());
    let mut transport =
        crate::virtio::mmio::MmioTransport::new(memory.clone(), fresh(disk_file())).unwrap();
    assert!(matches!(
        transport.restore(&later),
        Err(StateError::WrongDevice)
    ));
    let mut transport = crate::virtio::mmio::MmioTransport::new(
        memory.clone(),
        fresh(tempfile::tempfile().unwrap()),
    )
    .unwrap();
    assert!(matches!(
        transport.restore(&state),
        Err(StateError::DiskSize { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_chain_upsets_the_disk(
        header in proptest::array::uniform16(any::<u8>()),
        kind in 0u32..16,
        use_kind in any::<bool>(),
        chain in proptest::collection::vec((0..MEMORY_SIZE + 0x1000, 0u32..0x3000, 0u16..8), 1..12),
    ) {
        let memory = memory();
        let mut disk = Disk::new(&memory, false);
        disk.rig.put(HEADER, &header);
        if use_kind {
            disk.rig.put(HEADER, &kind.to_le_bytes());
        }
        let chain: Vec<_> = chain
            .into_iter()
            // Not into the rings, where the device's answer is looked for.
            .map(|(address, length, flags)| (address.max(BUFFERS), length, flags & WRITE))
            .collect();
        let chain = [&[(HEADER, 16, 0)], &chain[..]].concat();
        disk.chain(&chain);
        prop_assert_eq!(disk.file.metadata().unwrap().len(), SECTORS * SECTOR_SIZE);
    }
}
