use super::*;
use crate::meter::Meter;
use crate::value::Value;

/// Made for this test, of a size that nobody uses.
const KEY: &str = "\
-----BEGIN RSA PRIVATE KEY-----\n\
MIICXQIBAAKBgQDyuSHM1m3Mg9O86rFj1fQgv0ZBswutS+n5FYeQELY9Co9jDwKz\n\
PBhxNBu4DUbT7f7XIEHJKVT/tbSt0cfcmqyWzZHIRBnrIohUiereldv6B7MbbsZE\n\
TfxlHqON5243XSoUfgekkiLCk6IJD421ijsqzQebWwQgTvz53JmocKEGtwIDAQAB\n\
AoGBAN6XIsUb3EOSnWoBfL5GpoQlhUOY89tv49jWgqR+fvGJrqc0S9CdCvk9xTHL\n\
kymld3BHl6zn55g9Rb2lxXisrBoylpzz8ji13O0FouqUuNy4hEnMzo4KK2pCthbQ\n\
0uxam5jspaFc2byMEZD8SvTIHq1aAbq50T+B1lvz86bv+MZRAkEA/VAzNveDro3i\n\
CNP7YiaFoiuMhKP+IzEz4att5nAI5+Er13oX89Am+4UJOLlNISTO9/NluHnhTryR\n\
P3xuS18dbwJBAPVMLXQmSkz5xCkhjWeMm8UPvL36em/GOmq14iKTbMoTFWH+dKpN\n\
4d9ZPtZ1mpqlBjfCI3/6hDrvbHnLzZXZlzkCQCulUe26n/nHgJa8z6eNs6DJmCCS\n\
kQtHQwUzIHCABUjOx1sNMmtUBiN4PKqFYwC+8tpOGcy7U1LZsr0Zl3dtIAkCQCO2\n\
8a9Fm+/VNdBfSD1ZZZyti+eFPqpjjEHZNZGfMWnCmYxpBgd9y3M/hTyoZtg5Ssx3\n\
gb+yc+o4zex11fsJcVECQQCRugJKHT1Kvw3fTi8rz53Su929SqQ1x9csAgJZ5KXf\n\
Vt7LfJEu43op+7jlEPn8RXtT009SexRwRSkftF4dsRzp\n\
-----END RSA PRIVATE KEY-----\n";
/// What is in it was encrypted with the public half of the key.
const CIPHER: &str = "ow1w3kD1LSMDmHS8GKV/ktN5uF5cm2Apc+zA/PO73BuPYs23y+bO3tXdvR/AReTMSuGTmcCuHLmui9CQ0VaVCIaFy3IrCahYHlZe+d4MDTaGHLKhfeiA3XvtKXazeWhbwr43U6I29lolRbHqprWCEHOIFFOmzM46m2su4OSdVLw=";

fn outcome(cipher: &str, key: &str) -> Result<Value, String> {
    let mut context = Context { files: None, seed: None, meter: Meter::new(10_000) };
    decrypt(cipher, key, &mut context).map_err(|fault| format!("{fault:?}"))
}

#[test]
fn opens_what_was_closed() {
    assert_eq!(outcome(CIPHER, KEY), Ok(Value::text("secret é")));
}

#[test]
fn what_does_not_fit_is_refused() {
    let refuse = |cipher: &str, key: &str, expected: &str| {
        let reason = outcome(cipher, key).unwrap_err();
        assert!(reason.contains(expected), "{reason}");
    };
    refuse("!!", KEY, "cipher text must be base64-encoded");
    refuse("aaaa", KEY, "decryption error");
    refuse("", KEY, "decryption error");
    refuse(&STANDARD.encode([255; 500]), KEY, "decryption error");
    refuse("aaaa", "x", "no key found");
    refuse("aaaa", &KEY.replace("RSA PRIVATE", "PRIVATE"), "PKCS #1");
    refuse("aaaa", &KEY.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n"), "password protected");
    let halved = format!("{PEM_BEGIN}\n{}\n{PEM_END}", KEY.lines().nth(1).unwrap());
    refuse("aaaa", &halved, "truncated");
    // Zero and even moduli are no keys.
    for modulus in [0u8, 4] {
        let der = STANDARD.encode([0x30, 12, 2, 1, 0, 2, 1, modulus, 2, 1, 3, 2, 1, 1]);
        refuse("aaaa", &format!("{PEM_BEGIN}\n{der}\n{PEM_END}\n"), "Call");
    }
}
