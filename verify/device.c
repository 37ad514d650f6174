/*
 * What the device is called and what it has. On the CPU: /proc/cpuinfo for the model (on machines
 * whose kernel gives none there, the architecture's name), sysconf for cores and memory. A CUDA
 * device tells its runtime; the driver's own version is in /proc. The commit is what git says.
 */
#define _GNU_SOURCE
#include "verify/device.h"

#include <ctype.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/context.h"

/* The value of the first line of a file that starts with `key`, after its colon; false: none. */
static bool file_value(const char *path, const char *key, char *value, size_t size) {
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(value, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = value[0] != '\0';
    }
    fclose(file);
    return found;
}

/* The number that a file of the control group holds; -1 where there is none, or "max". */
static double group_value(const char *path) {
    FILE *file = fopen(path, "r");
    double value = -1;
    if (file && fscanf(file, "%lf", &value) != 1)
        value = -1;
    if (file)
        fclose(file);
    return value;
}

#ifdef TNL_WITH_CUDA

#include <cuda_runtime_api.h>

static int cuda_attribute(const tnl_context *context, enum cudaDeviceAttr attribute) {
    int value;
    return cudaDeviceGetAttribute(&value, attribute, context->index) == cudaSuccess ? value : 0;
}

static void cuda_version(int version, char *text, size_t size) {
    snprintf(text, size, "%d.%d", version / 1000, version % 1000 / 10);
}

static void describe_cuda(const tnl_context *context, device_description *description) {
    struct cudaDeviceProp properties;
    int version = 0;
    char text[512], supports[16];
    snprintf(description->model, sizeof description->model, "CUDA device %d", context->index);
    if (cudaGetDeviceProperties(&properties, context->index) == cudaSuccess) {
        snprintf(description->model, sizeof description->model, "%.127s", properties.name);
        description->memory = (double)properties.totalGlobalMem;
    }
    cudaRuntimeGetVersion(&version);
    cuda_version(version, description->runtime, sizeof description->runtime);
    cudaDriverGetVersion(&version);
    cuda_version(version, supports, sizeof supports);
    /* "NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build ..." */
    int length = 0;
    if (file_value("/proc/driver/nvidia/version", "NVRM version", text, sizeof text))
        for (char *word = strtok(text, " "); word && !length; word = strtok(NULL, " "))
            if (isdigit((unsigned char)word[0]) && strchr(word, '.'))
                length = snprintf(description->driver, sizeof description->driver, "%.32s, ", word);
    snprintf(description->driver + length, sizeof description->driver - (size_t)length, "CUDA %s",
             supports);
    description->multiprocessors = context->multiprocessors;
    description->clock_mhz = cuda_attribute(context, cudaDevAttrClockRate) / 1000;
    description->memory_clock_mhz = cuda_attribute(context, cudaDevAttrMemoryClockRate) / 1000;
    description->cache = cuda_attribute(context, cudaDevAttrL2CacheSize);
}

/* Less what the runtime takes for itself as it goes, and what is lost between allocations. */
static double cuda_free_memory(void) {
    const double kept = 512.0 * 1048576;
    size_t left = 0, total;
    if (cudaMemGetInfo(&left, &total) != cudaSuccess || (double)left < kept)
        return 0;
    return (double)left - kept;
}

#else

static void describe_cuda(const tnl_context *context, device_description *description) {
    (void)context;
    (void)description;
}

static double cuda_free_memory(void) {
    return 0;
}

#endif

void device_describe(const tnl_context *context, device_description *description) {
    *description = (device_description){.cores = 1};
    struct utsname system;
    if (!file_value("/proc/cpuinfo", "model name", description->model, sizeof description->model))
        snprintf(description->model, sizeof description->model, "%s CPU",
                 uname(&system) == 0 ? system.machine : "unknown");
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        description->cores = CPU_COUNT(&allowed);
    description->memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (context->device == TNL_CUDA)
        describe_cuda(context, description);
}

void device_slug(const tnl_context *context, char *slug, size_t size) {
    device_description description;
    device_describe(context, &description);
    size_t length = 0;
    for (const char *c = description.model; *c && length + 2 < size; c++) {
        if (*c == '(') /* "(R)", "(TM)" */
            c += strcspn(c, ")") - (strchr(c, ')') == NULL);
        else if (isalnum((unsigned char)*c))
            slug[length++] = (char)tolower((unsigned char)*c);
        else if (length && slug[length - 1] != '-')
            slug[length++] = '-';
    }
    while (length && slug[length - 1] == '-')
        length--;
    slug[length] = '\0';
}

double device_free_memory(const tnl_context *context) {
    if (context->device == TNL_CUDA)
        return cuda_free_memory();
    char text[64];
    double kib = 0;
    if (file_value("/proc/meminfo", "MemAvailable", text, sizeof text))
        sscanf(text, "%lf", &kib);
    double left = kib * 1024;
    double limit = group_value("/sys/fs/cgroup/memory.max");
    double used = group_value("/sys/fs/cgroup/memory.current");
    return limit > 0 && used >= 0 && limit - used < left ? limit - used : left;
}

/* The first line that a command prints; false: none. */
static bool command_line(const char *command, char *line, size_t size) {
    FILE *pipe = popen(command, "r");
    if (!pipe)
        return false;
    bool printed = fgets(line, (int)size, pipe) != NULL;
    if (printed)
        line[strcspn(line, "\n")] = '\0';
    return pclose(pipe) == 0 && printed;
}

void describe_commit(char *text, size_t size) {
    const char *told = getenv("TNL_COMMIT");
    char commit[64], change[256];
    if (told && *told) {
        snprintf(text, size, "%s", told);
        return;
    }
    if (!command_line("git rev-parse --verify --quiet HEAD 2>/dev/null", commit, sizeof commit)) {
        snprintf(text, size, "unknown");
        return;
    }
    bool dirty = command_line("git status --porcelain --untracked-files=no -- ':/' "
                              "':(top,exclude)results' 2>/dev/null",
                              change, sizeof change);
    snprintf(text, size, "%s%s", commit, dirty ? "-dirty" : "");
}
