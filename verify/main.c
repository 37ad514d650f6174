/* verify: the verdict on every row of the table. */
#include <errno.h>
#include <getopt.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/table.h"
#include "verify/device.h"
#include "verify/parts.h"

typedef struct settings {
    const char *filter, *golden, *results, *name, *example, *ptxas;
    bool quick, cpu, cuda; /* the devices to judge on, where there is one */
    uint64_t seed;
} settings;

static const char usage[] =
    "usage: tnl-verify [option]...\n"
    "  --filter=REGEX      judge only rows whose operator/variant/type matches\n"
    "  --quick             a tenth of the cases\n"
    "  --seed=N            the seed of all random choices (20240229)\n"
    "  --golden=DIR        check the data of DIR/ops.safetensors and the models DIR/*/\n"
    "  --ptxas=FILE        look for spills in what ptxas said of the kernels\n"
    "  --device=cpu|cuda   judge on the CPU or on CUDA device 0 alone (both, where there is one)\n"
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

/* false: it is the name of no device. */
static bool parse_device(const char *text, settings *s) {
    s->cpu = strcmp(text, "cpu") == 0;
    s->cuda = strcmp(text, "cuda") == 0;
    if (!s->cpu && !s->cuda)
        fprintf(stderr, "verify: --device=%s: expected cpu or cuda\n", text);
    return s->cpu || s->cuda;
}

/* Returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, settings *s) {
    static const struct option options[] = {
        {"filter", required_argument, NULL, 'f'},
        {"quick", no_argument, NULL, 'q'},
        {"seed", required_argument, NULL, 's'},
        {"golden", required_argument, NULL, 'g'},
        {"results", required_argument, NULL, 'r'},
        {"device", required_argument, NULL, 'd'},
        {"device-name", required_argument, NULL, 'n'},
        {"ptxas", required_argument, NULL, 'p'},
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
            if (!parse_device(optarg, s))
                return EXIT_FAILURE;
            break;
        case 'n':
            s->name = optarg;
            break;
        case 'p':
            s->ptxas = optarg;
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

/* The folder of the device's results, made if need be; false: said on stderr. */
static bool results_folder(const settings *s, const tnl_context *context, char *slug,
                           size_t slug_size, char *path, size_t path_size) {
    if (s->name)
        snprintf(slug, slug_size, "%s", s->name);
    else
        device_slug(context, slug, slug_size);
    const int length = snprintf(path, path_size, "%s/%s", s->results, slug);
    if (length + sizeof "/robust_inference.json" > path_size) {
        fprintf(stderr, "verify: %s: too long a path\n", s->results);
        return false;
    }
    return make_folder(s->results) && make_folder(path);
}

static bool write_results(const report *r, const settings *s, const tnl_context *context) {
    char slug[128], commit[128], path[4096];
    describe_commit(commit, sizeof commit);
    if (!results_folder(s, context, slug, sizeof slug, path, sizeof path))
        return false;
    strcat(path, "/verify.json");
    return report_write(r, path, slug, commit);
}

/* Its numbers are the CPU's, and so is their file: beside other results of the CPU alone. */
static void verify_robustness(report *r, const settings *s, const verify_devices *devices) {
    char slug[128], path[4096];
    const bool kept = s->results && devices->count == 1 &&
                      results_folder(s, devices->context[0], slug, sizeof slug, path, sizeof path);
    if (kept)
        strcat(path, "/robust_inference.json");
    verify_robust_inference(r, devices->context[0], kept ? path : NULL);
}

/* The devices asked for, as far as there are any; CUDA rows that can't be judged are counted on
 * the screen. false: said on stderr. */
static bool open_devices(const settings *s, verify_devices *devices) {
    *devices = (verify_devices){0};
    tnl_status status = TNL_OK;
    if (s->cpu)
        status = tnl_context_create(TNL_CPU, 0, &devices->context[devices->count]);
    devices->count += s->cpu && status == TNL_OK;
    if (status == TNL_OK && s->cuda) {
        status = tnl_context_create(TNL_CUDA, 0, &devices->context[devices->count]);
        devices->count += status == TNL_OK;
    }
    int rows = 0;
    for (int i = 0; i < tnl_variants_count; i++)
        rows += tnl_variants[i].device == TNL_CUDA && tnl_variants[i].kernel;
    if (status == TNL_NO_DEVICE && s->cpu && rows > 0)
        printf("no CUDA device: %d rows can't be judged\n", rows);
    if (status == TNL_OK || (status == TNL_NO_DEVICE && s->cpu))
        return true;
    fprintf(stderr, "verify: can't make a context: %s\n", tnl_status_name(status));
    return false;
}

static void close_devices(verify_devices *devices) {
    while (devices->count > 0)
        tnl_context_destroy(devices->context[--devices->count]);
}

static void verify_all(report *r, const settings *s, const verify_devices *devices) {
    if (s->cpu) {
        verify_checks(r);
        verify_gradients(r);
        verify_robustness(r, s, devices);
    }
    if (s->ptxas)
        verify_ptxas(r, s->ptxas);
    verify_matrix(r, devices);
    for (int i = 0; i < devices->count; i++) {
        verify_properties(r, devices->context[i]);
        if (s->golden) {
            verify_golden(r, devices->context[i], s->golden);
            verify_golden_models(r, devices->context[i], s->golden);
        }
        verify_model_checks(r, devices->context[i]);
        verify_made_model(r, devices->context[i]);
        verify_transformer(r, devices->context[i]);
        verify_generation(r, devices->context[i]);
        verify_damage(r, devices->context[i]);
        verify_bad_input(r, devices->context[i]);
    }
    verify_example(r, s->example);
}

int main(int argc, char **argv) {
    settings s = {.seed = 20240229, .cpu = true, .cuda = true};
    int status = parse(argc, argv, &s);
    if (status >= 0)
        return status;
    report r;
    verify_devices devices;
    if (!report_open(&r, s.filter, s.quick, s.seed))
        return EXIT_FAILURE;
    if (!open_devices(&s, &devices)) {
        close_devices(&devices);
        report_close(&r);
        return EXIT_FAILURE;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* failures are told as they come */
    printf("seed %llu%s\n", (unsigned long long)s.seed, s.quick ? ", a tenth of the cases" : "");
    verify_all(&r, &s, &devices);
    report_print(&r);
    /* The last is the CUDA device, where there is one. */
    bool written = !s.results || write_results(&r, &s, devices.context[devices.count - 1]);
    bool passed = r.failed == 0 && written;
    if (r.passed + r.failed + r.skipped == 0) {
        fprintf(stderr, "verify: no row matches %s\n", s.filter ? s.filter : "");
        passed = false;
    }
    close_devices(&devices);
    report_close(&r);
    omp_pause_resource_all(omp_pause_hard); /* ends the threads, so that no leak is suspected */
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
