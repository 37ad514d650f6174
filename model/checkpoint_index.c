/* The files of a checkpoint (model/checkpoint_index.h). */
#include "model/checkpoint_index.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/text_file.h"

/* "DIRECTORY/NAME", to be given to free(); NULL: out of memory. */
static char *join(const char *directory, const char *name) {
    const size_t size = strlen(directory) + 1 + strlen(name) + 1;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s/%s", directory, name);
    return path;
}

/* ---- the index ---------------------------------------------------------------------------- */

static bool is_plain_name(const char *name) {
    static const char suffix[] = ".safetensors";
    const size_t length = strlen(name);
    return name[0] != '.' && !strchr(name, '/') && length > strlen(suffix) &&
           strcmp(name + length - strlen(suffix), suffix) == 0;
}

/* Add a file unless it is there already; false: out of memory. */
static bool add_file(tnl_shard_index *index, const char *name) {
    for (size_t i = 0; i < index->file_count; i++)
        if (strcmp(index->file[i], name) == 0)
            return true;
    char **files = realloc(index->file, (index->file_count + 1) * sizeof *files);
    if (!files)
        return false;
    index->file = files;
    files[index->file_count] = strdup(name);
    return files[index->file_count] && ++index->file_count;
}

static bool read_map(tnl_shard_index *index, const char *path, char *error, size_t error_bytes) {
    const char *tensor;
    json_t *entry;
    json_object_foreach(index->map, tensor, entry) {
        const char *file = json_string_value(entry);
        if (!file || !is_plain_name(file)) {
            snprintf(error, error_bytes,
                     "%s: %s: file is %.128s, expected the name of a .safetensors file beside it",
                     path, tensor, file ? file : "no text");
            return false;
        }
        if (!add_file(index, file)) {
            snprintf(error, error_bytes, "%s: out of memory", path);
            return false;
        }
    }
    if (index->file_count == 0)
        snprintf(error, error_bytes, "%s: weight_map is empty", path);
    return index->file_count > 0;
}

bool tnl_shard_index_parse(tnl_shard_index *index, const char *path, const char *text,
                           size_t length, char *error, size_t error_bytes) {
    json_error_t json_error;
    *index =
        (tnl_shard_index){.root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &json_error)};
    index->map = json_object_get(index->root, "weight_map");
    if (!index->root)
        snprintf(error, error_bytes, "%s: is not JSON: %s at line %d", path, json_error.text,
                 json_error.line);
    else if (!json_is_object(index->map))
        snprintf(error, error_bytes, "%s: weight_map is missing or no JSON object", path);
    else if (read_map(index, path, error, error_bytes))
        return true;
    tnl_shard_index_free(index);
    return false;
}

void tnl_shard_index_free(tnl_shard_index *index) {
    for (size_t i = 0; i < index->file_count; i++)
        free(index->file[i]);
    free(index->file);
    json_decref(index->root);
    *index = (tnl_shard_index){0};
}

static bool read_index(tnl_shard_index *index, const char *path, char *error, size_t error_bytes) {
    size_t length;
    char *text = tnl_read_text(path, &length, error, error_bytes);
    const bool parsed =
        text && tnl_shard_index_parse(index, path, text, length, error, error_bytes);
    free(text);
    return parsed;
}

/* ---- the files ---------------------------------------------------------------------------- */

static bool open_shard(tnl_checkpoint *checkpoint, const char *directory, const char *name,
                       char *error, size_t error_bytes) {
    const size_t i = checkpoint->shard_count;
    checkpoint->shard_path[i] = join(directory, name);
    if (!checkpoint->shard_path[i]) {
        snprintf(error, error_bytes, "%s: out of memory", directory);
        return false;
    }
    checkpoint->shard_count++;
    return tnl_safetensors_open(&checkpoint->shard[i], checkpoint->shard_path[i], error,
                                error_bytes);
}

static bool make_room(tnl_checkpoint *checkpoint, size_t count, const char *directory, char *error,
                      size_t error_bytes) {
    checkpoint->shard = calloc(count, sizeof *checkpoint->shard);
    checkpoint->shard_path = calloc(count, sizeof *checkpoint->shard_path);
    if (!checkpoint->shard || !checkpoint->shard_path)
        snprintf(error, error_bytes, "%s: out of memory", directory);
    return checkpoint->shard && checkpoint->shard_path;
}

/* Every tensor of shard i is one that the index has there. */
static bool check_shard(const tnl_checkpoint *checkpoint, size_t i, const tnl_shard_index *index,
                        const char *index_path, char *error, size_t error_bytes) {
    const char *path = checkpoint->shard_path[i], *name = strrchr(path, '/') + 1;
    for (size_t j = 0; j < checkpoint->shard[i].count; j++) {
        const char *tensor = checkpoint->shard[i].tensor[j].name;
        const char *said = json_string_value(json_object_get(index->map, tensor));
        if (said && strcmp(said, name) == 0)
            continue;
        snprintf(error, error_bytes, "%s: %s: %s has it %s%s", path, tensor, index_path,
                 said ? "in " : "nowhere", said ? said : "");
        return false;
    }
    return true;
}

/* Every tensor of the index is where it says. */
static bool check_index(const tnl_checkpoint *checkpoint, const tnl_shard_index *index, char *error,
                        size_t error_bytes) {
    const char *tensor;
    json_t *entry;
    json_object_foreach(index->map, tensor, entry) {
        for (size_t i = 0; i < checkpoint->shard_count; i++) {
            const char *path = checkpoint->shard_path[i];
            if (strcmp(strrchr(path, '/') + 1, json_string_value(entry)) != 0 ||
                tnl_safetensors_find(&checkpoint->shard[i], tensor))
                continue;
            snprintf(error, error_bytes, "%s: %s: is missing, though the index has it there", path,
                     tensor);
            return false;
        }
    }
    return true;
}

static bool open_indexed(tnl_checkpoint *checkpoint, const char *directory, const char *path,
                         char *error, size_t error_bytes) {
    tnl_shard_index index;
    if (!read_index(&index, path, error, error_bytes))
        return false;
    bool opened = make_room(checkpoint, index.file_count, directory, error, error_bytes);
    for (size_t i = 0; opened && i < index.file_count; i++)
        opened = open_shard(checkpoint, directory, index.file[i], error, error_bytes) &&
                 check_shard(checkpoint, i, &index, path, error, error_bytes);
    opened = opened && check_index(checkpoint, &index, error, error_bytes);
    tnl_shard_index_free(&index);
    return opened;
}

bool tnl_open_shards(tnl_checkpoint *checkpoint, const char *directory, char *error,
                     size_t error_bytes) {
    static const char single[] = "model.safetensors", index[] = "model.safetensors.index.json";
    char *single_path = join(directory, single), *index_path = join(directory, index);
    const bool is_single = single_path && access(single_path, F_OK) == 0;
    bool opened = false;
    if (!single_path || !index_path)
        snprintf(error, error_bytes, "%s: out of memory", directory);
    else if (is_single)
        opened = make_room(checkpoint, 1, directory, error, error_bytes) &&
                 open_shard(checkpoint, directory, single, error, error_bytes);
    else if (access(index_path, F_OK) == 0)
        opened = open_indexed(checkpoint, directory, index_path, error, error_bytes);
    else
        snprintf(error, error_bytes, "%s: has neither %s nor %s", directory, single, index);
    checkpoint->list_path = is_single ? single_path : index_path;
    free(is_single ? index_path : single_path);
    return opened;
}
