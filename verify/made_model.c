/*
 * A model without a checkpoint (tnl_model_make) must be, with the weights of an opened one, that
 * very model: every weight is asked for once, in the checkpoint's order, and the logits are equal.
 */
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "model/model.h"
#include "verify/damage.h"
#include "verify/fed.h"
#include "verify/parts.h"

enum { TOKENS = 11 };

/* The opened model's weights, handed out one after the other. */
typedef struct source {
    const tnl_model *opened;
    tnl_tensor weight[2 + 6 * TNL_MAX_LAYERS];
    size_t count, taken;
    bool alike; /* each asked for was of the shape and type of the one handed out */
} source;

static void list_weights(source *from) {
    const tnl_model *model = from->opened;
    from->weight[from->count++] = model->embedding;
    for (int i = 0; i < model->checkpoint.config.layers; i++) {
        const tnl_layer *layer = &model->layer[i];
        from->weight[from->count++] = layer->qkvu;
        if (layer->theta.data)
            from->weight[from->count++] = layer->theta;
        from->weight[from->count++] = layer->out;
        from->weight[from->count++] = layer->l1;
        from->weight[from->count++] = layer->l2;
        from->weight[from->count++] = layer->l3;
    }
    from->weight[from->count++] = model->head;
}

static bool hand_out(void *user, const tnl_tensor *weight) {
    source *from = user;
    if (from->taken == from->count)
        return false;
    const tnl_tensor *given = &from->weight[from->taken++];
    from->alike = from->alike && given->type == weight->type &&
                  given->shape[0] == weight->shape[0] && given->shape[1] == weight->shape[1];
    const size_t count = (size_t)(weight->shape[0] * weight->shape[1]);
    return from->alike && tnl_memory_to_device(from->opened->device, weight->data, given->data,
                                               count * tnl_type_size(weight->type));
}

/* Some tokens at once and then one more; the logits after it. */
static bool feed(tnl_model *model, tnl_context *context, float *logits) {
    static const int32_t tokens[TOKENS] = {3, 60, 7, 7, 1, 0, 42, 63, 20, 5, 8}, slot = 0;
    tnl_state *state;
    if (tnl_state_create(model, context, NULL, &state) != TNL_OK)
        return false;
    const bool fed = fed_prefill(state, slot, tokens, TOKENS - 1, TOKENS, 0, NULL) &&
                     fed_decode(state, 1, &slot, &tokens[TOKENS - 1], logits);
    tnl_state_destroy(state);
    return fed;
}

static void compare(report *r, tnl_context *context, const tnl_model *opened, float *logits) {
    source *from = calloc(1, sizeof *from);
    tnl_model *made = NULL;
    const int64_t vocabulary = tnl_model_config(opened)->vocab_size;
    report_case(r, from != NULL, 0, 0, "out of memory");
    if (!from)
        return;
    *from = (source){.opened = opened, .alike = true};
    list_weights(from);
    const bool good = tnl_model_make(context, tnl_model_config(opened), tnl_model_type(opened),
                                     hand_out, from, &made) == TNL_OK;
    report_case(r, good && from->alike && from->taken == from->count, 0, 0,
                "%zu of %zu weights were asked for, %s: %s", from->taken, from->count,
                from->alike ? "as they are" : "the last not as it is", tnl_context_error(context));
    report_case(r, good && tnl_model_bytes(made) == tnl_model_bytes(opened), 0, 0,
                "its weights are of another size");
    report_case(r,
                good && feed(made, context, logits + vocabulary) &&
                    memcmp(logits, logits + vocabulary, (size_t)vocabulary * sizeof *logits) == 0,
                0, 0, "its logits are not the opened one's: %s", tnl_context_error(context));
    tnl_model_close(made);
    free(from);
}

void verify_made_model(report *r, tnl_context *context) {
    damage_scene files = {.r = r,
                          .context = context,
                          .directory = "/tmp/tnl-verify-XXXXXX",
                          .config = damage_small_config()};
    float logits[2 * 64];
    tnl_model *opened = NULL;
    if (!report_begin(r, "tnl_model", "made", "") ||
        !report_case(r, mkdtemp(files.directory) != NULL, 0, 0, "no directory in /tmp can be made"))
        return;
    const bool good = damage_restore(&files) &&
                      tnl_model_open(context, files.directory, NULL, &opened) == TNL_OK &&
                      feed(opened, context, logits);
    if (report_case(r, good, 0, 0, "%s", tnl_context_error(context)))
        compare(r, context, opened, logits);
    tnl_model_close(opened);
    damage_clear(&files);
}
