/*
 * The component structure: what Open MPI finds in mca_coll_rdma.so.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <string.h>

#include "coll_rdma/engine/op.h"
#include "opal/runtime/opal_progress.h"

static int component_open(void);
static int component_close(void);
static int init_query(bool progress_threads, bool mpi_threads);

__attribute__((visibility("default"))) mca_coll_base_component_t mca_coll_rdma_component = {
    .collm_version = {
#if CRDMA_OMPI_MAJOR >= 5
        MCA_COLL_BASE_VERSION_2_4_0,
#else
        MCA_COLL_BASE_VERSION_2_0_0,
#endif
        .mca_component_name = "rdma",
        MCA_BASE_MAKE_VERSION(component, OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION,
                              OMPI_RELEASE_VERSION),
        .mca_open_component = component_open,
        .mca_close_component = component_close,
        .mca_register_component_params = coll_rdma_register_params,
    },
    .collm_data = {MCA_BASE_METADATA_PARAM_NONE},
    .collm_init_query = init_query,
    .collm_comm_query = coll_rdma_comm_query,
};

static int component_open(void)
{
    coll_rdma_load_lower_components();
    return OMPI_SUCCESS;
}

static int component_close(void)
{
    coll_rdma_context_close();
    return OMPI_SUCCESS;
}

static void idle(void)
{
    opal_progress();
}

/* The headers that we were compiled with describe one release; another one may have other
 * structures under the same version numbers of the interface. */
static bool library_matches(void)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    char wanted[32];
    int len = 0;

    MPI_Get_library_version(text, &len);
    snprintf(wanted, sizeof(wanted), "Open MPI v%d.%d.%d", CRDMA_OMPI_MAJOR, CRDMA_OMPI_MINOR,
             CRDMA_OMPI_RELEASE);
    len = (int) strlen(wanted);
    if (0 == strncmp(text, wanted, (size_t) len) && (text[len] < '0' || text[len] > '9')) {
        return true;
    }
    text[strcspn(text, ",\n")] = '\0';
    crdma_log(CRDMA_LOG_ERROR, "built for %s, but this is %s: not used (rebuild coll_rdma)",
              wanted, text);
    return false;
}

static int init_query(bool progress_threads, bool mpi_threads)
{
    (void) progress_threads;
    (void) mpi_threads; /* what threads share is always locked; see context.c */
    if (!library_matches()) {
        return OMPI_ERR_NOT_SUPPORTED;
    }
    crdma_idle = idle;
    return OMPI_SUCCESS;
}
