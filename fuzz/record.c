/* The record of a run (fuzz/record.h). A finding ends the program, so that there is none of it. */
#include "fuzz/record.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "tnl.h"
#include "verify/device.h"

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static bool make_folder(const char *path) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return true;
    perror(path);
    return false;
}

static json_t *make_record(const char *device, unsigned long long inputs, double seconds,
                           uint64_t seed) {
    char commit[128], date[64];
    const time_t now = time(NULL);
    struct tm local;
    describe_commit(commit, sizeof commit);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S%z", localtime_r(&now, &local));
    return json_pack("{s:I, s:i, s:f, s:I, s:b, s:s, s:s, s:s}", "inputs", (json_int_t)inputs,
                     "findings", 0, "seconds", seconds, "seed", (json_int_t)seed, "sanitizers",
                     SANITIZED, "commit", commit, "date", date, "device", device);
}

bool fuzz_record(const char *results, unsigned long long inputs, double seconds, uint64_t seed) {
    char device[128], folder[4096], path[4200];
    tnl_context *context;
    if (tnl_context_create(TNL_CPU, 0, &context) != TNL_OK)
        return false;
    device_slug(context, device, sizeof device);
    tnl_context_destroy(context);
    snprintf(folder, sizeof folder, "%s/%s", results, device);
    snprintf(path, sizeof path, "%s/fuzz.json", folder);
    json_t *record = make_record(device, inputs, seconds, seed);
    const bool written = record && make_folder(results) && make_folder(folder) &&
                         json_dump_file(record, path, JSON_INDENT(2) | JSON_REAL_PRECISION(4)) == 0;
    if (!written)
        fprintf(stderr, "tnl-fuzz: %s can't be written\n", path);
    json_decref(record);
    return written;
}
