/* The fuzz target: the parsers of everything that a model directory or a saved slot has. */
#ifndef TNL_FUZZ_TARGET_H
#define TNL_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* The first byte says which parser, modulo these; the rest is its input. */
enum { FUZZ_SAFETENSORS, FUZZ_CONFIG, FUZZ_INDEX, FUZZ_PARSERS };

/* libFuzzer's entry. Aborts where a parser's answer is not what it promises. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
