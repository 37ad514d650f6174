/*
 * A 64-bit hash of bytes, to tell contents apart and to notice damage: not made to withstand
 * somebody who looks for two contents of one hash.
 *
 * Words of eight bytes (the last filled up with zeros) go through a multiplication and a rotation
 * each, in blocks that threads share out; the blocks' hashes are then hashed the same way, with
 * the length.
 */
#ifndef TNL_MODEL_HASH_H
#define TNL_MODEL_HASH_H

#include <stddef.h>
#include <stdint.h>

/* The hash of what `seed` stands for, followed by these bytes. */
uint64_t tnl_hash(uint64_t seed, const void *bytes, size_t count);

#endif
