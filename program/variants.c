/* tnl variants: the table of operators and variants, as the library lists it. */
#include <stdlib.h>

#include "program/command.h"

static void print_variant(const tnl_operator_info *operator_, const tnl_variant_info *variant) {
    char types[32] = "";
    int length = 0;
    for (tnl_type type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++)
        if (variant->types & 1u << type)
            length += snprintf(types + length, sizeof types - (size_t)length, "%s%s",
                               length ? "," : "", tnl_type_name(type));
    char device[24] = "cpu";
    if (variant->device == TNL_CUDA)
        snprintf(device, sizeof device, "cuda %d.%d", variant->compute_capability / 10,
                 variant->compute_capability % 10);
    printf("%-27s %-13s %-9s %-13s %s%s\n", operator_->name, variant->name, device, types,
           variant->summary, variant->built ? "" : " (not in this build)");
}

static int run(const command *self, int argc, char **argv) {
    static const struct option options[] = {{"help", no_argument, NULL, OPTION_HELP}, {0}};
    const int option = getopt_long(argc, argv, "h", options, NULL);
    if (option == OPTION_HELP)
        print_help(self, stdout);
    else if (option != -1)
        return EXIT_USAGE;
    else if (optind != argc)
        return misused(self, "expected no arguments");
    if (option == OPTION_HELP)
        return EXIT_SUCCESS;
    for (int i = 0; i < TNL_OPERATOR_COUNT; i++) {
        tnl_operator_info operator_;
        tnl_variant_info variant;
        tnl_get_operator((tnl_operator)i, &operator_);
        for (int j = 0; j < operator_.variant_count; j++)
            if (tnl_get_variant((tnl_operator)i, j, &variant) == TNL_OK)
                print_variant(&operator_, &variant);
    }
    return EXIT_SUCCESS;
}

const command variants_command = {
    "variants", "[--help]", "List every operator's variants",
    "A line each: operator, variant, where it runs (with the lowest CUDA compute capability), its\n"
    "types, and how it works. Of those that take a call the library chooses the last.\n",
    run};
