/* tnl random: a checkpoint with random weights. */
#include <stdlib.h>

#include "program/command.h"
#include "program/random_checkpoint.h"

typedef struct settings {
    int64_t vocab, layers, seed, shard;
    tnl_type type;
} settings;

/* false: said on stderr, or by getopt. */
static bool set(int option, const char *text, settings *s) {
    switch (option) {
    case 'v':
        return parse_integer("--vocab", text, 1, 1 << 24, &s->vocab);
    case 'l':
        return parse_integer("--layers", text, 1, TNL_MAX_LAYERS, &s->layers);
    case 's':
        return parse_integer("--seed", text, 0, INT64_MAX, &s->seed);
    case 'm':
        return parse_integer("--shard", text, 1, 1 << 20, &s->shard);
    case OPTION_DTYPE:
        return parse_type(text, &s->type);
    default:
        return false;
    }
}

static int write(const char *size, const char *directory, const settings *s) {
    static char writing[] = "writing";
    tnl_config config;
    char error[1024];
    if (tnl_config_for_size(size, &config) != TNL_OK) {
        complain("%s: no such size, expected one of Table 10's:", size);
        for (int i = 0; tnl_size_name(i); i++)
            fprintf(stderr, "  %s\n", tnl_size_name(i));
        return EXIT_USAGE;
    }
    config.vocab_size = s->vocab ? s->vocab : config.vocab_size;
    config.layers = s->layers ? (int)s->layers : config.layers;
    config.bos = config.bos < config.vocab_size ? config.bos : -1;
    config.eos = config.eos < config.vocab_size ? config.eos : -1;
    const random_checkpoint what = {.config = &config,
                                    .type = s->type,
                                    .seed = (uint64_t)s->seed,
                                    .shard_bytes = (size_t)s->shard << 20,
                                    .progress = show_progress,
                                    .user = writing};
    if (random_checkpoint_write(&what, directory, error, sizeof error))
        return EXIT_SUCCESS;
    complain("%s", error);
    return EXIT_FAILURE;
}

static int run(const command *self, int argc, char **argv) {
    static const struct option options[] = {{"vocab", required_argument, NULL, 'v'},
                                            {"layers", required_argument, NULL, 'l'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"shard", required_argument, NULL, 'm'},
                                            {"dtype", required_argument, NULL, OPTION_DTYPE},
                                            {"help", no_argument, NULL, OPTION_HELP},
                                            {0}};
    settings s = {.seed = 1, .type = TNL_BFLOAT16};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            print_help(self, stdout);
            return EXIT_SUCCESS;
        }
        if (!set(option, optarg, &s))
            return EXIT_USAGE;
    }
    if (argc - optind != 2)
        return misused(self, "expected a size and a directory");
    return write(argv[optind], argv[optind + 1], &s);
}

const command random_command = {
    "random", "SIZE DIRECTORY [OPTION]...", "Write a checkpoint with random weights",
    "SIZE is one of Table 10's: 385M, 1B, 3B, 7B, 13B, 65B, 175B.\n\n"
    "  --dtype=TYPE   f32, f16 or bf16 (bf16)\n"
    "  --vocab=N      size of the vocabulary (64000)\n"
    "  --layers=N     layers, in place of the size's\n"
    "  --shard=MIB    files of at most so much data, with an index (one file)\n"
    "  --seed=N       of the random numbers (1)\n",
    run};
