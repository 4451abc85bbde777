//! Small conversions at the boundary.

use napi::bindgen_prelude::{BigInt, Env, Uint8ArraySlice};

use crate::errors::{misuse, Refusal};

/// A bigint that the wrapper has checked to be a u64.
pub fn word(value: &BigInt) -> u64 {
    value.get_u64().1
}

/// Memory that JavaScript owns, to be written during a call.
#[allow(unsafe_code)]
pub fn writable<'a>(memory: &'a mut Uint8ArraySlice<'_>) -> &'a mut [u8] {
    // SAFETY: JavaScript does not run during a synchronous call, so that nothing moves, detaches or writes the memory
    // meanwhile; the wrapper in lib/wire/native has refused shared memory, and two arguments over the same memory.
    unsafe { memory.as_mut() }
}

/// Fresh memory of so many bytes is worth asking for huge pages: it has at least one whole one.
#[cfg(target_os = "linux")]
const HUGE_PAGES_MIN: usize = 4 << 20;

/// [`writable`] memory that JavaScript has just made and that is about to be written whole. Its first writing costs a page
/// fault per 4 KiB, as much as the copying itself; in huge pages, nearly nothing.
pub fn writable_whole<'a>(memory: &'a mut Uint8ArraySlice<'_>) -> &'a mut [u8] {
    let memory = writable(memory);
    #[cfg(target_os = "linux")]
    if memory.len() >= HUGE_PAGES_MIN {
        ask_for_huge_pages(memory);
    }
    memory
}

/// For the huge pages that lie wholly in `memory`. A wish: a system that refuses goes on with common pages.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn ask_for_huge_pages(memory: &mut [u8]) {
    const HUGE_PAGE: usize = 2 << 20;
    let skipped = (memory.as_ptr() as usize).wrapping_neg() % HUGE_PAGE;
    let Some(whole) = memory.get_mut(skipped..) else { return };
    let length = whole.len() / HUGE_PAGE * HUGE_PAGE;
    // SAFETY: the range lies in memory that is borrowed here and begins at a page. MADV_HUGEPAGE changes neither its content
    // nor whether it is mapped, only how large the pages are that the system backs it with.
    unsafe { libc::madvise(whole.as_mut_ptr().cast(), length, libc::MADV_HUGEPAGE) };
}

/// From so many bytes on, a result is handed over without a copy: making an external buffer costs as much as copying some
/// tens of KiB, and its finalizer waits for a turn of the loop.
const HAND_OVER_MIN: usize = 256 << 10;

pub fn give(env: &Env, bytes: Vec<u8>) -> Result<Uint8ArraySlice<'_>, Refusal> {
    let given = if bytes.len() < HAND_OVER_MIN {
        Uint8ArraySlice::copy_from(env, bytes)
    } else {
        Uint8ArraySlice::from_data(env, bytes)
    };
    given.map_err(|error| misuse(&error.reason))
}

/// Copies a result into memory of exactly its size.
pub fn fill(out: &mut [u8], bytes: &[u8]) -> Result<(), Refusal> {
    if out.len() != bytes.len() {
        return Err(misuse("the result needs memory of its size"));
    }
    out.copy_from_slice(bytes);
    Ok(())
}
