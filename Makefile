# Every way in; `make help` lists them.
#
# What is built goes to $(BUILD), what is measured to $(RESULTS)/<device>. Objects follow the
# folders: whatever .c or .cu stands in kernels/*/ is compiled, so a new variant needs no line here.

BUILD ?= build
RESULTS ?= results
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)

# ---- what there is to build with -------------------------------------------------------------

PKG_CONFIG ?= pkg-config
AR ?= ar
PACKAGES := gcc g++ make pkg-config git libopenblas-openmp-dev libjansson-dev libbenchmark-dev \
            gnuplot-nox
DEVELOPER_PACKAGES := clang-format cppcheck valgrind sentencepiece libsentencepiece-dev

# x86-64-v3 (AVX2 and FMA, any x86 server since 2013) where the machine has it.
ifneq ($(shell grep -s -m1 -w avx2 /proc/cpuinfo),)
CPU_ARCH ?= -march=x86-64-v3
endif

# CUDA rows are built where there is an nvcc; CUDA=0 and the sanitizers build for the CPU alone.
ifeq ($(origin NVCC), undefined)
NVCC := $(or $(shell command -v nvcc),$(wildcard /usr/local/cuda/bin/nvcc))
endif
WITH_CUDA := $(if $(SANITIZE)$(filter 0,$(CUDA)),,$(NVCC))
CUDA_HOME ?= $(patsubst %/bin/,%,$(dir $(realpath $(shell command -v $(NVCC)))))
CUDA_LIB ?= $(patsubst %/,%,$(dir $(firstword $(wildcard $(addsuffix /libcudart_static.a,\
              $(CUDA_HOME)/lib64 $(CUDA_HOME)/lib $(CUDA_HOME)/lib/*-linux-gnu)))))
# Machine code for each of these, and PTX for what comes after; none for the likes of 90a, which
# runs on nothing else.
CUDA_ARCHITECTURES ?= 80 90a

WARNINGS := -Wall -Wextra -Werror
C_WARNINGS := $(WARNINGS) -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
OPTIMIZE := -O3 -g
ifdef SANITIZE
BUILD := $(BUILD)/sanitize
# gcc sees uninitialised variables in the standard library when it instruments it.
WARNINGS += -Wno-maybe-uninitialized
OPTIMIZE := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif

LIBRARY_CFLAGS = $(shell $(PKG_CONFIG) --cflags openblas jansson)
OPENBLAS_LIBS = $(shell $(PKG_CONFIG) --libs openblas)
JANSSON_LIBS = $(shell $(PKG_CONFIG) --libs jansson)
BENCHMARK_LIBS = $(shell $(PKG_CONFIG) --libs benchmark 2>/dev/null || echo -lbenchmark -lpthread)

CPPFLAGS += -I. -Iinclude -MMD -MP $(LIBRARY_CFLAGS)
ifneq ($(WITH_CUDA),)
CPPFLAGS += -DTNL_WITH_CUDA $(patsubst %,-isystem %,$(filter-out /usr/include,$(CUDA_HOME)/include))
endif
COMMON_FLAGS = $(OPTIMIZE) $(CPU_ARCH) -fopenmp -fPIC -fvisibility=hidden
ALL_CFLAGS = -std=gnu11 $(C_WARNINGS) $(COMMON_FLAGS) $(CFLAGS)
ALL_CXXFLAGS = -std=c++17 $(WARNINGS) $(COMMON_FLAGS) $(CXXFLAGS)
# A row's initialiser names the members that it sets: C++ warns of the others, C does not. Without
# guarded statics (nvcc's own, of one value whoever sets them) nothing of libstdc++ is needed.
ALL_NVCCFLAGS = -std=c++20 -O3 -lineinfo -DTNL_WITH_CUDA -I. -Iinclude \
    $(foreach a,$(CUDA_ARCHITECTURES),-gencode arch=compute_$(a),code=sm_$(a)) \
    $(foreach a,$(patsubst %a,%,$(CUDA_ARCHITECTURES)),-gencode arch=compute_$(a),code=compute_$(a)) \
    $(if $(filter 90 90a,$(CUDA_ARCHITECTURES)),-DTNL_BUILT_FOR_90) \
    $(if $(filter 90a,$(CUDA_ARCHITECTURES)),-DTNL_BUILT_FOR_90A) \
    -Werror all-warnings -Xptxas -v \
    -Xcompiler -Wall,-Wextra,-Wno-missing-field-initializers,-fPIC,-fvisibility=hidden \
    -Xcompiler -fno-threadsafe-statics,-fno-exceptions $(NVCCFLAGS)
LIBRARY_LIBS = $(OPENBLAS_LIBS) -lgomp -lm
ifneq ($(WITH_CUDA),)
LIBRARY_LIBS += -L$(CUDA_LIB) -Wl,-rpath,$(CUDA_LIB) -lcublas -lcublasLt -lcudart_static -lpthread \
                -ldl -lrt
endif

# ---- what is built ---------------------------------------------------------------------------

VERSION := $(shell awk '/define TNL_VERSION_(MAJOR|MINOR|PATCH)/ {v = v s $$3; s = "."} END {print v}' include/tnl.h)
SONAME := libtnl.so.$(firstword $(subst ., ,$(VERSION)))

REFERENCE := $(wildcard reference/*.c)
LIBRARY_C := $(wildcard core/*.c kernels/*/*.c model/*.c)
KERNEL_CU := $(if $(WITH_CUDA),$(wildcard kernels/*/*.cu model/*.cu))
LIBRARY_OBJECTS := $(LIBRARY_C:%.c=$(BUILD)/%.o) $(REFERENCE:%.c=$(BUILD)/%.o) \
                   $(REFERENCE:%.c=$(BUILD)/%.naive.o) $(KERNEL_CU:%=$(BUILD)/%.o)
VERIFY_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard verify/*.c))
# In bench, what only a build with CUDA has is called *_cuda.c or *.cu.
BENCH_C := $(filter-out $(if $(WITH_CUDA),,%_cuda.c),$(wildcard bench/*.c bench/*.cc))
BENCH_CU := $(if $(WITH_CUDA),$(wildcard bench/*.cu))
BENCH_OBJECTS := $(patsubst %,$(BUILD)/%.o,$(basename $(BENCH_C)) $(BENCH_CU))
# The Transformer that figure 4 holds the model against: no part of the library.
TRANSFORMER_C := $(wildcard transformer/*.c)
TRANSFORMER_CU := $(if $(WITH_CUDA),$(wildcard transformer/*.cu))
TRANSFORMER_OBJECTS := $(patsubst %,$(BUILD)/%.o,$(basename $(TRANSFORMER_C)) $(TRANSFORMER_CU))
# The program: with a tokenizer where SentencePiece is installed.
WITH_SENTENCEPIECE := $(shell $(PKG_CONFIG) --exists sentencepiece && echo yes)
SENTENCEPIECE_LIBS = $(if $(WITH_SENTENCEPIECE),$(shell $(PKG_CONFIG) --libs sentencepiece))
PROGRAM_C := $(filter-out program/tokenizer_$(if $(WITH_SENTENCEPIECE),none.c,sentencepiece.cc),\
               $(wildcard program/*.c program/*.cc))
PROGRAM_OBJECTS := $(patsubst %,$(BUILD)/%.o,$(basename $(PROGRAM_C)))
PLOTS_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard plots/*.c))
# What bench takes from verify: the maker of problems, the device's name.
SHARED_OBJECTS := $(addprefix $(BUILD)/verify/,problem.o plan.o values.o device.o)
CUDA_OBJECTS := $(patsubst %,$(BUILD)/%.o,$(KERNEL_CU) $(BENCH_CU) $(TRANSFORMER_CU))
# What verify takes from the program: random checkpoints, likelihoods.
TRIED_OBJECTS := $(addprefix $(BUILD)/program/,random_checkpoint.o likelihood.o)
FUZZ_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard fuzz/*.c))
OBJECTS := $(LIBRARY_OBJECTS) $(VERIFY_OBJECTS) $(BENCH_OBJECTS) $(PLOTS_OBJECTS) \
           $(TRANSFORMER_OBJECTS) $(PROGRAM_OBJECTS) $(FUZZ_OBJECTS)

LIBRARIES := $(BUILD)/libtnl.a $(BUILD)/$(SONAME)
PROGRAMS := $(BUILD)/tnl $(BUILD)/tnl-verify $(BUILD)/tnl-bench $(BUILD)/tnl-extract \
            $(BUILD)/tnl-fuzz $(BUILD)/readme-example \
            $(if $(WITH_CUDA),$(BUILD)/ptxas.log)

.DEFAULT_GOAL := build
.PHONY: help setup setup-developer build all verify sanitize-gpu fuzz bench plots readme install lint format clean
.DELETE_ON_ERROR:

help:
	@echo 'make setup             install what is missing (apt), or print the command that does'
	@echo 'make build             the library and the programs, into $(BUILD)/'
	@echo 'make verify            judge every row: FILTER=part QUICK=1 SEED=n GOLDEN=dir DEVICES=cpu'
	@echo 'make sanitize-gpu      the same on a GPU, QUICK=1, under compute-sanitizer: ONLY=regex'
	@echo 'make fuzz              damaged files for the parsers: SECONDS=60 or INPUTS=n, SEED=n'
	@echo 'make bench             time every row: FILTER=regex QUICK=1 COMPARE=old.json'
	@echo 'make plots             draw the figures from $(RESULTS)/<device>/bench.json'
	@echo 'make readme            put the numbers of $(RESULTS)/*/bench.json into README.md'
	@echo 'make install           library, headers, tnl.pc, the program tnl, its page: PREFIX=$(PREFIX) DESTDIR='
	@echo 'make lint, make format clang-format and cppcheck; rewrite in place'
	@echo 'make clean             remove $(BUILD)/'
	@echo 'With any of them: SANITIZE=1 (address, undefined behaviour), RESULTS=dir, BUILD=dir,'
	@echo 'CUDA=0 (build for the CPU alone), NVCC=path, CUDA_ARCHITECTURES="$(CUDA_ARCHITECTURES)"'

# ---- setting up ------------------------------------------------------------------------------

# Install the packages that dpkg does not know as installed: as root, with sudo where it asks no
# password, or not at all.
define install_packages
@missing=; for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
if [ -z "$$missing" ]; then echo "setup: nothing is missing"; exit 0; fi; \
command="apt-get update && apt-get install -y --no-install-recommends$$missing"; \
if ! command -v apt-get >/dev/null; then echo "setup: install these with your package manager:$$missing"; exit 1; \
elif [ "$$(id -u)" = 0 ]; then DEBIAN_FRONTEND=noninteractive sh -c "$$command"; \
elif sudo -n true 2>/dev/null; then sudo DEBIAN_FRONTEND=noninteractive sh -c "$$command"; \
else echo "setup: run this as root, then again:"; echo "  $$command"; exit 1; fi
endef

setup:
	$(call install_packages,$(PACKAGES))

setup-developer:
	$(call install_packages,$(PACKAGES) $(DEVELOPER_PACKAGES))

# ---- building --------------------------------------------------------------------------------

# The work is done by a second make, in parallel; the goals above it stay in order.
build:
	@$(PKG_CONFIG) --exists openblas jansson || { echo 'run "make setup" first'; exit 1; }
	@$(if $(NVCC),:,echo 'no nvcc found: building for the CPU')
	@+$(MAKE) --no-print-directory -j$(JOBS) all

all: $(LIBRARIES) $(PROGRAMS)

# Rebuild everything when the compilers or flags change.
FLAGS := $(CC) $(CXX) $(CPPFLAGS) $(ALL_CFLAGS) $(ALL_CXXFLAGS)
FLAGS += $(if $(WITH_CUDA),$(NVCC) $(ALL_NVCCFLAGS) $(CUDA_LIB))
$(BUILD)/flags: FORCE
	@mkdir -p $(@D); echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@
FORCE:

$(OBJECTS): $(BUILD)/flags
$(BUILD)/%.o: %.c
	@mkdir -p $(@D); echo '  CC  $<'
	@$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c $< -o $@
$(BUILD)/%.naive.o: %.c
	@mkdir -p $(@D); echo '  CC  $< (naive)'
	@$(CC) $(CPPFLAGS) -DTNL_NAIVE $(ALL_CFLAGS) -c $< -o $@
$(BUILD)/%.o: %.cc
	@mkdir -p $(@D); echo '  CXX $<'
	@$(CXX) $(CPPFLAGS) $(ALL_CXXFLAGS) -c $< -o $@
# What ptxas says of registers and spills is kept beside the object, and together in ptxas.log.
$(CUDA_OBJECTS): $(BUILD)/%.o: %
	@mkdir -p $(@D); echo '  NVCC $<'
	@$(NVCC) $(ALL_NVCCFLAGS) -MMD -MP -MF $(@:.o=.d) -c $< -o $@ > $(@:.o=.ptxas) 2>&1 || \
	    { cat $(@:.o=.ptxas) >&2; exit 1; }
$(BUILD)/ptxas.log: $(CUDA_OBJECTS)
	@cat $(CUDA_OBJECTS:.o=.ptxas) > $@
-include $(OBJECTS:.o=.d)

$(BUILD)/libtnl.a: $(LIBRARY_OBJECTS)
	@echo '  AR  $@'; rm -f $@; $(AR) rcs $@ $^
$(BUILD)/$(SONAME): $(LIBRARY_OBJECTS) core/libtnl.map
	@echo '  LD  $@'
	@$(CC) $(ALL_CFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script,core/libtnl.map \
	    -Wl,--no-undefined $(LIBRARY_OBJECTS) $(LDFLAGS) $(LIBRARY_LIBS) $(JANSSON_LIBS) -o $@
	@ln -sf $(SONAME) $(BUILD)/libtnl.so

LINK = @echo '  LD  $@'; $(CXX) $(ALL_CXXFLAGS) $(filter %.o %.a,$^) $(LDFLAGS)
$(BUILD)/sentencepiece: FORCE
	@mkdir -p $(@D); echo '$(WITH_SENTENCEPIECE)' | cmp -s - $@ || echo '$(WITH_SENTENCEPIECE)' > $@
$(BUILD)/tnl: $(PROGRAM_OBJECTS) $(BUILD)/libtnl.a $(BUILD)/sentencepiece
	$(LINK) $(SENTENCEPIECE_LIBS) $(LIBRARY_LIBS) $(JANSSON_LIBS) -o $@
$(BUILD)/tnl-verify: $(VERIFY_OBJECTS) $(TRIED_OBJECTS) $(TRANSFORMER_OBJECTS) $(BUILD)/libtnl.a
	$(LINK) $(LIBRARY_LIBS) $(JANSSON_LIBS) -o $@
$(BUILD)/tnl-bench: $(BENCH_OBJECTS) $(SHARED_OBJECTS) $(TRANSFORMER_OBJECTS) $(BUILD)/libtnl.a
	$(LINK) $(BENCHMARK_LIBS) $(LIBRARY_LIBS) $(JANSSON_LIBS) -o $@
$(BUILD)/tnl-extract: $(PLOTS_OBJECTS)
	$(LINK) $(JANSSON_LIBS) -lm -o $@

$(BUILD)/tnl-fuzz: $(FUZZ_OBJECTS) $(BUILD)/verify/device.o $(BUILD)/libtnl.a
	$(LINK) $(LIBRARY_LIBS) $(JANSSON_LIBS) -o $@

# The program that the README shows, compiled as the README says.
$(BUILD)/readme-example.c: README.md
	@mkdir -p $(@D); awk '/^```c$$/ {on = 1; next} /^```$$/ {on = 0} on' $< > $@
$(BUILD)/readme-example: $(BUILD)/readme-example.c $(BUILD)/$(SONAME)
	@echo '  LD  $@'
	@$(CC) $(ALL_CFLAGS) -Iinclude $< -L$(BUILD) -Wl,-rpath,'$$ORIGIN' -ltnl -lm -o $@

# ---- running ---------------------------------------------------------------------------------

# Many short parallel loops: threads that wait should sleep where others want the cores.
verify: build
	@OMP_WAIT_POLICY=passive $(BUILD)/tnl-verify --results=$(RESULTS) --example=$(BUILD)/readme-example \
	    --golden=$(or $(GOLDEN),verify/golden) $(if $(WITH_CUDA),--ptxas=$(BUILD)/ptxas.log) \
	    $(if $(FILTER),--filter='$(FILTER)') $(if $(SEED),--seed=$(SEED)) $(if $(QUICK),--quick) \
	    $(if $(DEVICES),--device=$(DEVICES))

# What it finds is in $(RESULTS)/<device>/sanitizers.txt.
sanitize-gpu: build
	@verify/sanitize.sh $(BUILD)/tnl-verify $(RESULTS) $(or $(JOBS),4) '$(ONLY)'

# The sanitizers see what the parsers do wrong: best with SANITIZE=1. A run of so many inputs is
# kept in $(RESULTS)/<device>/fuzz.json.
fuzz: build
	@$(BUILD)/tnl-fuzz $(if $(INPUTS),--inputs=$(INPUTS) --results='$(RESULTS)',\
	    --seconds=$(or $(SECONDS),60)) $(if $(SEED),--seed=$(SEED))

bench: build | $(filter verify,$(MAKECMDGOALS))
	@$(BUILD)/tnl-bench --results=$(RESULTS) $(if $(FILTER),--benchmark_filter='$(FILTER)') \
	    $(if $(COMPARE),--compare='$(COMPARE)') $(if $(QUICK),--quick)

# DEVICE: a folder of results; by default this machine's.
DEVICE = $(shell $(BUILD)/tnl-bench --print-device)
plots: build | $(filter bench,$(MAKECMDGOALS))
	@RESULTS='$(RESULTS)' BUILD='$(BUILD)' plots/draw.sh '$(DEVICE)'

GPU_RESULTS = $(wildcard $(RESULTS)/nvidia-*/bench.json)
readme: build
	@$(BUILD)/tnl-extract readme README.md $(GPU_RESULTS) \
	    $(filter-out $(GPU_RESULTS),$(wildcard $(RESULTS)/*/bench.json))

# ---- installing ------------------------------------------------------------------------------

install: build
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin include lib/pkgconfig share/man/man1)
	install -m 755 $(BUILD)/tnl $(DESTDIR)$(PREFIX)/bin/
	install -m 644 program/tnl.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 include/tnl.h include/tnl_model.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 $(BUILD)/libtnl.a $(DESTDIR)$(PREFIX)/lib/
	install -m 755 $(BUILD)/$(SONAME) $(DESTDIR)$(PREFIX)/lib/libtnl.so.$(VERSION)
	ln -sf libtnl.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(PREFIX)/lib/libtnl.so
	printf '%s\n' 'prefix=$(PREFIX)' 'Name: tnl' 'URL: https://github.com/tnl/tnl' \
	    'Description: Linear attention for TransNormerLLM, without Triton' \
	    'Version: $(VERSION)' 'Cflags: -I$${prefix}/include' \
	    'Libs: -L$${prefix}/lib -ltnl' 'Libs.private: $(LIBRARY_LIBS) $(JANSSON_LIBS)' \
	    > $(DESTDIR)$(PREFIX)/lib/pkgconfig/tnl.pc

# ---- keeping it clean ------------------------------------------------------------------------

SOURCES := $(shell git ls-files -co --exclude-standard '*.c' '*.h' '*.cc' '*.cu' '*.cuh' 2>/dev/null)
lint:
	clang-format --dry-run -Werror $(SOURCES)
	cppcheck --quiet --error-exitcode=1 --std=c11 --language=c --inline-suppr -I. -Iinclude \
	    --enable=warning,performance,portability \
	    -j$(JOBS) $(filter %.c,$(SOURCES))
format:
	clang-format -i $(SOURCES)

clean:
	rm -rf $(BUILD)
