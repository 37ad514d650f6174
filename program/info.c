/* tnl info: what a checkpoint or a size of Table 10 is, in numbers. */
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint.h"
#include "program/command.h"

static void print_bytes(const char *what, double bytes, const char *note) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    for (; bytes >= 1024 && unit < 4; unit++)
        bytes /= 1024;
    printf("%-22s %.*f %s%s\n", what, unit ? 1 : 0, bytes, units[unit], note);
}

static void print_config(const tnl_config *config) {
    printf("%-22s %d\n", "layers", config->layers);
    printf("%-22s %lld, of %d heads of %lld\n", "hidden dimension", (long long)config->hidden_dim,
           config->heads, (long long)tnl_head_dim(config));
    printf("%-22s %lld\n", "embedding dimension", (long long)config->embed_dim);
    printf("%-22s %lld\n", "gated dimension", (long long)config->glu_dim);
    printf("%-22s %lld\n", "vocabulary", (long long)config->vocab_size);
    printf("%-22s", "LRPE in layers");
    int count = 0;
    for (int i = 0; i < config->layers; i++)
        if (config->lrpe[i])
            printf("%s %d", count++ ? "," : "", i);
    puts(count ? "" : " none");
    printf("%-22s %s\n", "embedding scaled", config->scale_embedding ? "by sqrt(D)" : "no");
    printf("%-22s %s\n", "output projection",
           config->tie == TNL_TIE_NO ? "its own" : "the embedding");
}

/* The size of the table whose dimensions these are, or NULL. */
static const char *size_of(const tnl_config *config) {
    tnl_config size;
    for (int i = 0; tnl_size_name(i); i++)
        if (tnl_config_for_size(tnl_size_name(i), &size) == TNL_OK &&
            size.layers == config->layers && size.heads == config->heads &&
            size.embed_dim == config->embed_dim && size.hidden_dim == config->hidden_dim &&
            size.glu_dim == config->glu_dim)
            return tnl_size_name(i);
    return NULL;
}

static void print_counts(const tnl_config *config) {
    tnl_counts counts;
    tnl_config_count(config, &counts);
    const char *size = size_of(config);
    printf("%-22s %lld\n", "parameters",
           (long long)(counts.embedding + counts.layers + counts.head));
    printf("%-22s %lld\n", "  embedding", (long long)counts.embedding);
    printf("%-22s %lld\n", "  layers", (long long)counts.layers);
    printf("%-22s %lld\n", "  output projection", (long long)counts.head);
    printf("%-22s %lld%s%s\n", "  as Table 10 counts", (long long)counts.table,
           size ? ", its row " : "", size ? size : "");
}

static void print_state(const tnl_config *config) {
    double bytes = 0;
    for (int i = 0; i < config->layers; i++)
        bytes += (double)sizeof(float) * config->heads * (double)tnl_lrpe_dim(config, i) *
                 (double)tnl_head_dim(config);
    print_bytes("state of a sequence", bytes, ", whatever its length");
}

static void print_files(const tnl_checkpoint *checkpoint) {
    double bytes[TNL_BFLOAT16 + 1] = {0};
    for (size_t i = 0; i < checkpoint->weight_count; i++) {
        const tnl_safetensors_tensor *stored = checkpoint->weight[i].stored;
        bytes[tnl_stored_type(stored)] += (double)stored->bytes;
    }
    for (tnl_type type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++) {
        char what[32];
        snprintf(what, sizeof what, "weights stored as %s", tnl_type_name(type));
        if (bytes[type] > 0)
            print_bytes(what, bytes[type], "");
    }
    for (size_t i = 0; i < checkpoint->shard_count; i++)
        printf("%-22s %s\n", i ? "" : "files", checkpoint->shard_path[i]);
}

static int describe(const char *what) {
    tnl_config config;
    tnl_checkpoint checkpoint;
    char error[1024];
    if (tnl_config_for_size(what, &config) == TNL_OK) {
        print_config(&config);
        print_counts(&config);
        print_state(&config);
        return EXIT_SUCCESS;
    }
    if (!tnl_checkpoint_open(&checkpoint, what, error, sizeof error)) {
        complain("%s", error);
        return EXIT_FAILURE;
    }
    print_config(&checkpoint.config);
    print_counts(&checkpoint.config);
    print_state(&checkpoint.config);
    print_files(&checkpoint);
    tnl_checkpoint_close(&checkpoint);
    return EXIT_SUCCESS;
}

static int run(const command *self, int argc, char **argv) {
    static const struct option options[] = {{"help", no_argument, NULL, OPTION_HELP}, {0}};
    const int option = getopt_long(argc, argv, "h", options, NULL);
    if (option == OPTION_HELP) {
        print_help(self, stdout);
        return EXIT_SUCCESS;
    }
    if (option != -1)
        return EXIT_USAGE;
    if (argc - optind != 1)
        return misused(self, "expected a directory or a size");
    return describe(argv[optind]);
}

const command info_command = {
    "info", "DIRECTORY|SIZE", "Check a checkpoint, and say what it is",
    "DIRECTORY has config.json and .safetensors files, which are checked against each other; SIZE "
    "is\n"
    "one of Table 10's: 385M, 1B, 3B, 7B, 13B, 65B, 175B. Printed are the configuration, the "
    "number\n"
    "of parameters (in all, and as Table 10 counts them), the state's size and the files.\n",
    run};
