/* What a run without a finding leaves: results/<device>/fuzz.json. */
#ifndef TNL_FUZZ_RECORD_H
#define TNL_FUZZ_RECORD_H

#include <stdbool.h>
#include <stdint.h>

/* Folders are made. false: it can't be written (said on stderr). */
bool fuzz_record(const char *results, unsigned long long inputs, double seconds, uint64_t seed);

#endif
