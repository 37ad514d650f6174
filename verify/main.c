/* verify: the verdict on every row of the table. */
#include <errno.h>
#include <getopt.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "verify/device.h"
#include "verify/parts.h"

typedef struct settings {
    const char *filter, *golden, *results, *device, *example;
    bool quick;
    uint64_t seed;
} settings;

static const char usage[] =
    "usage: tnl-verify [option]...\n"
    "  --filter=REGEX      judge only rows whose operator/variant/type matches\n"
    "  --quick             a tenth of the cases\n"
    "  --seed=N            the seed of all random choices (20240229)\n"
    "  --golden=DIR        check the data of DIR/ops.safetensors\n"
    "  --results=DIR       write DIR/<device>/verify.json\n"
    "  --device-name=NAME  in place of this device's own name\n"
    "  --example=PROGRAM   run this program, too: it must succeed\n";

/* A whole number in decimal; false: it is none. */
static bool parse_seed(const char *text, uint64_t *seed) {
    char *end;
    errno = 0;
    *seed = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *text != '-';
}

/* Returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, settings *s) {
    static const struct option options[] = {
        {"filter", required_argument, NULL, 'f'},
        {"quick", no_argument, NULL, 'q'},
        {"seed", required_argument, NULL, 's'},
        {"golden", required_argument, NULL, 'g'},
        {"results", required_argument, NULL, 'r'},
        {"device-name", required_argument, NULL, 'd'},
        {"example", required_argument, NULL, 'e'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'f':
            s->filter = optarg;
            break;
        case 'q':
            s->quick = true;
            break;
        case 's':
            if (!parse_seed(optarg, &s->seed)) {
                fprintf(stderr, "verify: --seed=%s: expected a whole number\n", optarg);
                return EXIT_FAILURE;
            }
            break;
        case 'g':
            s->golden = optarg;
            break;
        case 'r':
            s->results = optarg;
            break;
        case 'd':
            s->device = optarg;
            break;
        case 'e':
            s->example = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            fputs(usage, stderr);
            return EXIT_FAILURE;
        }
    }
    if (optind == argc)
        return -1;
    fprintf(stderr, "verify: %s: no such argument\n%s", argv[optind], usage);
    return EXIT_FAILURE;
}

/* The README's program. */
static void verify_example(report *r, const char *program) {
    if (!program || !report_begin(r, "readme_example", "", ""))
        return;
    char command[4096];
    int length = snprintf(command, sizeof command, "'%s' > /dev/null", program);
    int status = length < (int)sizeof command ? system(command) : -1;
    report_case(r, status == 0, 0, 0, "%s ended with status %d", program,
                WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static bool make_folder(const char *path) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return true;
    fprintf(stderr, "verify: can't make %s: %s\n", path, strerror(errno));
    return false;
}

static bool write_results(const report *r, const settings *s, const tnl_context *context) {
    char slug[128], commit[128], path[4096];
    if (s->device)
        snprintf(slug, sizeof slug, "%s", s->device);
    else
        device_slug(context, slug, sizeof slug);
    describe_commit(commit, sizeof commit);
    int length = snprintf(path, sizeof path, "%s/%s", s->results, slug);
    if (length + sizeof "/verify.json" > sizeof path) {
        fprintf(stderr, "verify: %s: too long a path\n", s->results);
        return false;
    }
    if (!make_folder(s->results) || !make_folder(path))
        return false;
    snprintf(path + length, sizeof path - (size_t)length, "/verify.json");
    return report_write(r, path, slug, commit);
}

int main(int argc, char **argv) {
    settings s = {.seed = 20240229};
    int status = parse(argc, argv, &s);
    if (status >= 0)
        return status;
    report r;
    tnl_context *context;
    if (!report_open(&r, s.filter, s.quick, s.seed))
        return EXIT_FAILURE;
    if (tnl_context_create(TNL_CPU, 0, &context) != TNL_OK) {
        fputs("verify: can't make a context\n", stderr);
        report_close(&r);
        return EXIT_FAILURE;
    }
    printf("seed %llu%s\n", (unsigned long long)s.seed, s.quick ? ", a tenth of the cases" : "");
    verify_checks(&r);
    verify_gradients(&r);
    verify_matrix(&r, context);
    verify_properties(&r, context);
    if (s.golden)
        verify_golden(&r, context, s.golden);
    verify_bad_input(&r, context);
    verify_example(&r, s.example);
    report_print(&r);
    bool written = !s.results || write_results(&r, &s, context);
    bool passed = r.failed == 0 && written;
    if (r.passed + r.failed + r.skipped == 0) {
        fprintf(stderr, "verify: no row matches %s\n", s.filter ? s.filter : "");
        passed = false;
    }
    tnl_context_destroy(context);
    report_close(&r);
    omp_pause_resource_all(omp_pause_hard); /* ends the threads, so that no leak is suspected */
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
