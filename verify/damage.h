/*
 * Damaged model directories: a good one, made anew for every damage, and what must be said of it.
 */
#ifndef TNL_VERIFY_DAMAGE_H
#define TNL_VERIFY_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tnl_model.h"
#include "verify/report.h"

typedef struct damage_scene {
    report *r;
    tnl_context *context;
    char directory[64]; /* of its own, with the checkpoint that the damage is done to */
    size_t shard_bytes; /* of it */
    tnl_config config;
} damage_scene;

/* A model that is quickly made: two layers, the second with LRPE. */
tnl_config damage_small_config(void);
/* A good checkpoint in the directory, files of an earlier one gone. false: it can't be made. */
bool damage_restore(const damage_scene *s);
/* Removes the directory, in which there is then nothing else. */
void damage_clear(const damage_scene *s);
/* The path of a file of it, good until the next call. */
const char *damage_path(const damage_scene *s, const char *name);

/* A file's bytes, to be given to free(), and new ones for it. */
unsigned char *damage_read(const damage_scene *s, const char *name, size_t *count);
bool damage_write(const damage_scene *s, const char *name, const void *bytes, size_t count);
/* Put a JSON value, as text, in the place of a key's in a JSON file (value NULL: remove the key).
 */
bool damage_json(const damage_scene *s, const char *name, const char *key, const char *value);
/* The same in a .safetensors file's header, for a tensor's key; key NULL: for the tensor. The data
 * stay as they are. */
bool damage_header(const damage_scene *s, const char *name, const char *tensor, const char *key,
                   const char *value);
/* A .safetensors file written anew without one tensor (NULL: with all), and with one more, of the
 * shape, type and data of `like` (NULL: none). */
bool damage_tensors(const damage_scene *s, const char *name, const char *without, const char *more,
                    const char *like);

/* The directory must be refused: with TNL_FILE_ERROR, and a text that has `file` and `part` in it.
 * `done` false: the damage could not be done, which fails, too. */
void damage_judge(const damage_scene *s, bool done, const char *what, const char *file,
                  const char *part);

#endif
