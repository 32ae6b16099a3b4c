//! What CPUID tells the guest: what KVM supports, with each vCPU's own number, and on a host that emulates ring 0
//! without what can't be emulated there.

use std::arch::x86_64::{__cpuid, __cpuid_count};

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Kvm, VcpuFd};

use crate::config::HostKind;

const LEAF_FEATURES: u32 = 1;
const LEAF_CACHES: u32 = 4;
const LEAF_EXTENDED_FEATURES: u32 = 7;
const LEAF_TOPOLOGY: u32 = 0xb;
const LEAF_XSAVE: u32 = 0xd;
const LEAF_TOPOLOGY_V2: u32 = 0x1f;
const LEAF_KVM_FEATURES: u32 = 0x4000_0001;
const LEAF_AMD_TOPOLOGY: u32 = 0x8000_001e;
const LEAF_AMD_CORES: u32 = 0x8000_0008;

const ECX_CMPXCHG16B: u32 = 1 << 13;
const ECX_MONITOR: u32 = 1 << 3;
const ECX_TSC_DEADLINE: u32 = 1 << 24;
const ECX_HYPERVISOR: u32 = 1 << 31;
const EDX_HYPER_THREADING: u32 = 1 << 28;
/// `KVM_FEATURE_CLOCKSOURCE`, `KVM_FEATURE_CLOCKSOURCE2` and `KVM_FEATURE_CLOCKSOURCE_STABLE_BIT`: what needs
/// MSRs only, and no hypercalls.
const KVM_FEATURES_WITHOUT_HYPERCALLS: u32 = 1 | 1 << 3 | 1 << 24;
/// Enhanced `rep movsb`, which an emulator runs byte by byte.
const EBX_ERMS: u32 = 1 << 9;
const EDX_FSRM: u32 = 1 << 4;

/// Features by which Linux comes to use instructions that an emulator of ring 0 does not know, or string instructions that it runs byte by
/// byte, as Linux numbers them (arch/x86/include/asm/cpufeatures.h): 32 for each word, in a word the bit of a register.
const NOT_EMULATED: [u32; 22] = [
    59,  // rdtscp
    131, // monitor
    141, // cx16
    145, // pcid
    151, // popcnt
    221, // mwaitx
    288, // fsgsbase
    295, // smep
    296, // bmi2
    297, // erms
    298, // invpcid
    308, // smap
    312, // clwb
    320, // xsaveopt
    321, // xsavec
    323, // xsaves
    394, // fzrm
    395, // fsrs
    402, // lkgs
    515, // pku
    517, // waitpkg
    580, // fsrm
];

/// Those of [`NOT_EMULATED`] that this processor has: such a host lets its guests see its own CPUID, whatever they are meant to see.
pub fn not_emulated() -> Vec<u32> {
    let word = |number: &u32| match number / 32 {
        1 => __cpuid(0x8000_0001).edx,
        4 => __cpuid(LEAF_FEATURES).ecx,
        6 => __cpuid(0x8000_0001).ecx,
        9 => __cpuid_count(LEAF_EXTENDED_FEATURES, 0).ebx,
        10 => __cpuid_count(LEAF_XSAVE, 1).eax,
        12 => __cpuid_count(LEAF_EXTENDED_FEATURES, 1).eax,
        16 => __cpuid_count(LEAF_EXTENDED_FEATURES, 0).ecx,
        18 => __cpuid_count(LEAF_EXTENDED_FEATURES, 0).edx,
        _ => 0,
    };
    let present = |number: &u32| word(number) >> (number % 32) & 1 == 1;
    NOT_EMULATED.into_iter().filter(present).collect()
}

/// What KVM supports, changed for `host`. It is the same each time on the same host.
pub fn template(kvm: &Kvm, host: HostKind) -> Result<CpuId, kvm_ioctls::Error> {
    let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
    for entry in cpuid.as_mut_slice() {
        match (entry.function, entry.index) {
            (LEAF_FEATURES, _) => {
                entry.ecx |= ECX_HYPERVISOR | ECX_TSC_DEADLINE;
                if host == HostKind::EmulatedRing0 {
                    entry.ecx &= !(ECX_CMPXCHG16B | ECX_MONITOR);
                }
            }
            (LEAF_EXTENDED_FEATURES, 0) if host == HostKind::EmulatedRing0 => {
                entry.ebx &= !EBX_ERMS;
                entry.edx &= !EDX_FSRM;
            }
            (LEAF_KVM_FEATURES, _) if host == HostKind::EmulatedRing0 => {
                entry.eax &= KVM_FEATURES_WITHOUT_HYPERCALLS;
            }
            _ => {}
        }
        // KVM reports the numbers of the processor that it happens to run on.
        number(entry, 0, 1);
    }
    Ok(cpuid)
}

/// Sets the CPUID of the vCPU number `id` of `count`: one package with a core for each vCPU.
pub fn set(vcpu: &VcpuFd, template: &CpuId, id: u8, count: u8) -> Result<(), kvm_ioctls::Error> {
    let mut cpuid = template.clone();
    for entry in cpuid.as_mut_slice() {
        number(entry, u32::from(id), u32::from(count));
    }
    vcpu.set_cpuid2(&cpuid)
}

fn number(entry: &mut kvm_cpuid_entry2, id: u32, count: u32) {
    let bits = count.next_power_of_two().trailing_zeros();
    match entry.function {
        LEAF_FEATURES => {
            entry.ebx = entry.ebx & 0xff00 | id << 24 | (1 << bits) << 16;
            if count > 1 {
                entry.edx |= EDX_HYPER_THREADING;
            } else {
                entry.edx &= !EDX_HYPER_THREADING;
            }
        }
        LEAF_CACHES => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level >= 3 { (1 << bits) - 1 } else { 0 };
            entry.eax = entry.eax & 0x3fff | ((1 << bits) - 1) << 26 | sharing << 14;
        }
        LEAF_TOPOLOGY | LEAF_TOPOLOGY_V2 => {
            let (shift, logical, kind) = match entry.index {
                0 => (0, 1, 1),
                1 => (bits, count, 2),
                _ => (0, 0, 0),
            };
            entry.eax = shift;
            entry.ebx = logical;
            entry.ecx = kind << 8 | entry.index & 0xff;
            entry.edx = id;
        }
        LEAF_AMD_CORES => entry.ecx = bits << 12 | (count - 1),
        LEAF_AMD_TOPOLOGY => {
            entry.eax = id;
            entry.ebx = id;
            entry.ecx = 0;
        }
        _ => {}
    }
}
