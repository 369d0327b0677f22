from django.db import migrations, models


class Migration(migrations.Migration):
    """Apart from the rows' change before: Postgres takes no index while rows of the same transaction wait for checks."""

    dependencies = [("training", "0016_versions")]
    operations = [
        migrations.AlterField(
            "datasetfile", "family", models.CharField(db_index=True, editable=False, max_length=40)
        ),
        migrations.AddConstraint(
            "datasetfile", models.UniqueConstraint(fields=("family", "version"), name="one_file_a_version")
        ),
    ]
