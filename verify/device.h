/* Where results come from: the device that a context runs on, and the source that was built. */
#ifndef TNL_VERIFY_DEVICE_H
#define TNL_VERIFY_DEVICE_H

#include <stddef.h>

#include "tnl.h"

typedef struct device_description {
    char model[128]; /* as the maker names it */
    int cores;       /* of the host: those that this process may use */
    double memory;   /* bytes in all */
    /* A CUDA device's; 0 and "" on the CPU. */
    char driver[64]; /* the driver's own version where it tells, and CUDA's that it supports */
    char runtime[16];
    int multiprocessors, clock_mhz, memory_clock_mhz; /* the highest clocks */
    double cache;                                     /* bytes of L2 */
} device_description;

void device_describe(const tnl_context *context, device_description *description);
/* The model as a folder's name: "Intel(R) Xeon(R) Processor" becomes intel-xeon-processor. */
void device_slug(const tnl_context *context, char *slug, size_t size);
/* Bytes of memory that could be taken now: what the machine has left, or what the control group
 * of this process leaves it where that is less. */
double device_free_memory(const tnl_context *context);

/* What TNL_COMMIT in the environment says, for a program that runs beside another checkout than its
 * own; else the commit checked out in the working directory, with -dirty behind it where tracked
 * files outside results/ differ from it; outside a repository "unknown". */
void describe_commit(char *text, size_t size);

#endif
