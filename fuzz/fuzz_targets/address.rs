#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = kiln_fuzz::target::find("address") {
        let _ = (target.run)(bytes);
    }
});
