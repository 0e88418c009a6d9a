"""Grids of HDF-EOS 2, written as that library lays them out: arrays, structural metadata, groups of HDF4."""

from pathlib import Path

import numpy as np

PIECE = 32_000  # characters of metadata in one attribute
SPHERE = "6371007.181000" + ",0" * 12  # of MODIS


def hdf_eos(path: Path, grids: dict, corners, projection="GCTP_SNSOID", parameters=SPHERE) -> Path:
    """One file; ``grids`` by name: layers by name: (values, attributes); ``corners``: (west, north), (east, south)."""
    from pyhdf.HDF import HC, HDF
    from pyhdf.SD import SD, SDC
    from pyhdf.V import V

    path.parent.mkdir(parents=True, exist_ok=True)
    file, written, text = SD(str(path), SDC.WRITE | SDC.CREATE), {}, ""
    for number, (grid, layers) in enumerate(grids.items(), 1):
        fields = ""
        for field, (name, (values, attributes)) in enumerate(layers.items(), 1):
            array = file.create(name, getattr(SDC, values.dtype.name.upper()), values.shape)
            for axis, dimension in enumerate(("YDim", "XDim")):
                array.dim(axis).setname(f"{dimension}:{grid}")
            for key, value in attributes.items():
                array.setfillvalue(value) if key == "_FillValue" else setattr(array, key, value)
            array[:] = values
            written.setdefault(grid, []).append(array.ref())
            array.endaccess()
            fields += "".join(
                f"\t\t\t{line}\n"
                for line in (
                    f"OBJECT=DataField_{field}",
                    f'\tDataFieldName="{name}"',
                    f"\tDataType=DFNT_{values.dtype.name.upper()}",
                    '\tDimList=("YDim","XDim")',
                    f"END_OBJECT=DataField_{field}",
                )
            )
        (west, north), (east, south) = corners
        rows, columns = np.shape(values)
        text += (
            f'\tGROUP=GRID_{number}\n\t\tGridName="{grid}"\n\t\tXDim={columns}\n\t\tYDim={rows}\n'
            f"\t\tUpperLeftPointMtrs=({west:.6f},{north:.6f})\n\t\tLowerRightMtrs=({east:.6f},{south:.6f})\n"
            f"\t\tProjection={projection}\n\t\tProjParams=({parameters})\n\t\tSphereCode=-1\n"
            f"\t\tGridOrigin=HDFE_GD_UL\n\t\tGROUP=Dimension\n\t\tEND_GROUP=Dimension\n"
            f"\t\tGROUP=DataField\n{fields}\t\tEND_GROUP=DataField\n"
            f"\t\tGROUP=MergedFields\n\t\tEND_GROUP=MergedFields\n\tEND_GROUP=GRID_{number}\n"
        )
    structure = (
        f"GROUP=SwathStructure\nEND_GROUP=SwathStructure\nGROUP=GridStructure\n{text}END_GROUP=GridStructure\nEND\n"
    )
    for piece in range(-(-len(structure) // PIECE)):
        setattr(file, f"StructMetadata.{piece}", structure[piece * PIECE : (piece + 1) * PIECE])
    file.HDFEOSVersion = "HDFEOS_V2.17"
    file.end()
    opened = HDF(str(path), HC.WRITE)
    groups = V(opened)
    for grid, references in written.items():
        whole, fields, attributes = (groups.create(name) for name in (grid, "Data Fields", "Grid Attributes"))
        whole._class, fields._class, attributes._class = "GRID", "GRID Vgroup", "GRID Vgroup"
        for reference in references:
            fields.add(HC.DFTAG_NDG, reference)
        whole.insert(fields), whole.insert(attributes)
        for group in (fields, attributes, whole):
            group.detach()
    groups.end(), opened.close()
    return path
