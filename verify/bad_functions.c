/* Bad input for the public functions that belong to no operator. */
#include <limits.h>
#include <string.h>

#include "verify/trial.h"

static void check(report *r, bool passed, const char *what) {
    report_case(r, passed, 0, 0, "%s", what);
}

static void try_context(report *r, tnl_context *context) {
    static const struct {
        int device, index;
        const char *what;
    } bad[] = {{TNL_CPU, 1, "CPU 1"},
               {TNL_CPU, -1, "CPU -1"},
               {TNL_CUDA, -1, "CUDA device -1"},
               {TNL_CUDA + 1, 0, "device 2"},
               {-1, 0, "device -1"}};
    if (report_begin(r, "tnl_context_create", "bad input", "")) {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            tnl_context *made = context;
            tnl_status status = tnl_context_create((tnl_device)bad[i].device, bad[i].index, &made);
            check(r, status == TNL_INVALID_ARGUMENT && made == NULL, bad[i].what);
        }
        tnl_context *made = context;
        check(r, tnl_context_create(TNL_CUDA, INT_MAX, &made) == TNL_NO_DEVICE && made == NULL,
              "a CUDA device that no machine has");
        check(r, tnl_context_create(TNL_CPU, 0, NULL) == TNL_INVALID_ARGUMENT, "context NULL");
        tnl_context_destroy(NULL);
        check(r, true, "tnl_context_destroy(NULL)");
    }
    if (report_begin(r, "tnl_context_set_stream", "bad input", "")) {
        check(r, tnl_context_set_stream(NULL, NULL) == TNL_INVALID_ARGUMENT, "context NULL");
        if (context->device == TNL_CPU) {
            tnl_fail(context, TNL_OK, "an older text");
            tnl_status status = tnl_context_set_stream(context, &status);
            const char *text = tnl_context_error(context);
            check(r,
                  status == TNL_INVALID_ARGUMENT && context->stream == NULL &&
                      strstr(text, "stream is") &&
                      strstr(text, trial_text("%p", (void *)&status)) &&
                      strstr(text, "expected NULL"),
                  "a stream on a CPU context");
        }
    }
    if (report_begin(r, "tnl_context_error", "bad input", ""))
        check(r, tnl_context_error(NULL) && strstr(tnl_context_error(NULL), "context is NULL"),
              "context NULL");
}

static void try_slopes(report *r, const char *name, tnl_status (*make)(int, int, int, float *)) {
    static const struct {
        int heads, layers, layer;
    } bad[] = {{0, 4, 0},  {-1, 4, 0},      {INT_MIN, 4, 0}, {4, 0, 0},       {4, -1, 0},
               {4, 4, -1}, {4, 4, INT_MIN}, {4, 4, 4},       {4, 4, INT_MAX}, {4, INT_MIN, 0}};
    if (!report_begin(r, name, "bad input", ""))
        return;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        float made[4] = {-7, -7, -7, -7};
        tnl_status status = make(bad[i].heads, bad[i].layers, bad[i].layer, made);
        bool untouched = made[0] == -7 && made[1] == -7 && made[2] == -7 && made[3] == -7;
        report_case(r, status == TNL_INVALID_ARGUMENT && untouched, 0, 0,
                    "heads %d, layers %d, layer %d: %s%s", bad[i].heads, bad[i].layers,
                    bad[i].layer, tnl_status_name(status), untouched ? "" : ", written to");
    }
    check(r, make(4, 4, 0, NULL) == TNL_INVALID_ARGUMENT, "slopes NULL");
}

/* A question about operator `op`, answered into `info`, whatever the question. */
typedef tnl_status ask(tnl_operator op, int index, void *info);

static tnl_status ask_operator(tnl_operator op, int index, void *info) {
    (void)index;
    return tnl_get_operator(op, info);
}
static tnl_status ask_argument(tnl_operator op, int index, void *info) {
    return tnl_get_argument(op, index, info);
}
static tnl_status ask_variant(tnl_operator op, int index, void *info) {
    return tnl_get_variant(op, index, info);
}

/* count: how many there are of what is listed under an operator; NULL: the operator itself. */
static void try_listing(report *r, const char *name, ask *asked,
                        int (*count)(const tnl_operator_info *)) {
    union {
        tnl_operator_info operator_;
        tnl_argument_info argument;
        tnl_variant_info variant;
    } info, before;
    if (!report_begin(r, name, "bad input", ""))
        return;
    memset(&before, 0x5a, sizeof before);
    memcpy(&info, &before, sizeof info);
    static const int operators[] = {-1, TNL_OPERATOR_COUNT, INT_MIN, INT_MAX};
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        report_case(r,
                    asked((tnl_operator)operators[i], 0, &info) == TNL_INVALID_ARGUMENT &&
                        memcmp(&info, &before, sizeof info) == 0,
                    0, 0, "operator %d", operators[i]);
    for (int op = 0; op < TNL_OPERATOR_COUNT; op++) {
        tnl_operator_info about = {0};
        tnl_get_operator((tnl_operator)op, &about);
        check(r, asked((tnl_operator)op, 0, NULL) == TNL_INVALID_ARGUMENT, "info NULL");
        int bad[] = {-1, INT_MIN, INT_MAX, count ? count(&about) : 0};
        for (size_t i = 0; count && i < sizeof bad / sizeof *bad; i++)
            report_case(r,
                        asked((tnl_operator)op, bad[i], &info) == TNL_INVALID_ARGUMENT &&
                            memcmp(&info, &before, sizeof info) == 0,
                        0, 0, "%s, index %d", about.name, bad[i]);
    }
}

static int arguments_of(const tnl_operator_info *about) {
    return about->argument_count;
}
static int variants_of(const tnl_operator_info *about) {
    return about->variant_count;
}

static void try_names(report *r) {
    static const int bad[] = {-1, 8, 99, INT_MIN, INT_MAX};
    if (!report_begin(r, "names and sizes", "bad input", ""))
        return;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *status = tnl_status_name((tnl_status)bad[i]);
        report_case(r, status && strncmp(status, "TNL_", 4) != 0, 0, 0, "tnl_status_name(%d)",
                    bad[i]);
        const char *type = tnl_type_name((tnl_type)bad[i]);
        report_case(r, type && strcmp(type, "?") == 0, 0, 0, "tnl_type_name(%d)", bad[i]);
        report_case(r, tnl_type_size((tnl_type)bad[i]) == 0, 0, 0, "tnl_type_size(%d)", bad[i]);
    }
    check(r, tnl_type_size(TNL_NO_TYPE) == 0, "tnl_type_size(TNL_NO_TYPE)");
    check(r, strcmp(tnl_type_name(TNL_NO_TYPE), "?") == 0, "tnl_type_name(TNL_NO_TYPE)");
}

void trial_functions(report *r, tnl_context *context) {
    try_context(r, context);
    try_slopes(r, "tnl_slopes_paper", tnl_slopes_paper);
    try_slopes(r, "tnl_slopes_released", tnl_slopes_released);
    try_listing(r, "tnl_get_operator", ask_operator, NULL);
    try_listing(r, "tnl_get_argument", ask_argument, arguments_of);
    try_listing(r, "tnl_get_variant", ask_variant, variants_of);
    try_names(r);
}
