/* Hashing (model/hash.h). */
#include "model/hash.h"

#include <string.h>

enum { BLOCK = 1 << 20 };

static const uint64_t odd = 0x9fb21c651e98df25u; /* bits without a pattern; odd, so invertible */

static uint64_t absorb(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * odd;
    return hash << 29 | hash >> 35;
}

/* Every bit of the result depends on every bit of the hash. */
static uint64_t finish(uint64_t hash) {
    for (int i = 0; i < 3; i++)
        hash = (hash ^ hash >> 32) * odd;
    return hash ^ hash >> 32;
}

static uint64_t hash_block(const unsigned char *bytes, size_t count) {
    uint64_t hash = 0, word;
    size_t i = 0;
    for (; i + sizeof word <= count; i += sizeof word) {
        memcpy(&word, bytes + i, sizeof word);
        hash = absorb(hash, word);
    }
    if (i < count) {
        word = 0;
        memcpy(&word, bytes + i, count - i);
        hash = absorb(hash, word);
    }
    return finish(hash);
}

uint64_t tnl_hash(uint64_t seed, const void *bytes, size_t count) {
    const size_t blocks = (count + BLOCK - 1) / BLOCK;
    uint64_t hash = absorb(seed, count);
    /* A few blocks for each thread, then what they came to, in order. */
    enum { ROUND = 64 };
    for (size_t first = 0; first < blocks; first += ROUND) {
        const int in_round = (int)(blocks - first < ROUND ? blocks - first : ROUND);
        uint64_t part[ROUND];
#pragma omp parallel for schedule(dynamic) if (in_round > 1)
        for (int i = 0; i < in_round; i++) {
            const size_t begin = (first + (size_t)i) * BLOCK;
            part[i] = hash_block((const unsigned char *)bytes + begin,
                                 count - begin < BLOCK ? count - begin : BLOCK);
        }
        for (int i = 0; i < in_round; i++)
            hash = absorb(hash, part[i]);
    }
    return finish(hash);
}
